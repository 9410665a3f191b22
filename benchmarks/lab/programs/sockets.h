/* Sockets, plain or with TLS, for one thread with one epoll set. Programs that use them are
 * tools: without memory or descriptors they end.
 */
#ifndef SOCKETS_H
#define SOCKETS_H
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

static int poller; /* the epoll set */

static void die(const char *what)
{
    perror(what);
    exit(2);
}

static void *checked(void *memory)
{
    if (!memory) die("memory");
    return memory;
}

/* ------------------------------------------------------------------------ sockets */

enum { LISTENER, SERVED, CLIENT };

/* The beginning of everything that epoll points to. */
typedef struct {
    int kind, fd;
    SSL *ssl;
    uint32_t events; /* what epoll was asked for; 0 before it knows the descriptor */
} Socket;

enum { AGAIN = -1, BROKEN = -2 }; /* what socket_read and socket_write return besides a count */

static void socket_watch(Socket *s, uint32_t events)
{
    if (s->events == events) return;
    struct epoll_event e = {.events = events, .data.ptr = s};
    if (epoll_ctl(poller, s->events ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, s->fd, &e)) die("epoll_ctl");
    s->events = events;
}

static void socket_close(Socket *s)
{
    if (s->ssl) {
        SSL_shutdown(s->ssl);
        SSL_free(s->ssl);
        ERR_clear_error();
        s->ssl = NULL;
    }
    close(s->fd);
    s->fd = -1;
    s->events = 0;
}

static ssize_t plain_result(ssize_t n)
{
    if (n >= 0) return n;
    return errno == EAGAIN || errno == EINTR ? AGAIN : BROKEN;
}

static int tls_wants_more(SSL *ssl, int result)
{
    int error = SSL_get_error(ssl, result);
    ERR_clear_error();
    return error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE;
}

/* Read up to n bytes: how many, 0 at the end, AGAIN or BROKEN. */
static ssize_t socket_read(Socket *s, uint8_t *p, size_t n)
{
    if (!s->ssl) return plain_result(recv(s->fd, p, n, 0));
    size_t got = 0;
    while (got < n) { /* all records: epoll does not see what OpenSSL holds */
        int r = SSL_read(s->ssl, p + got, (int)(n - got));
        if (r > 0) {
            got += (size_t)r;
            if (got >= 65536 && !SSL_pending(s->ssl)) break;
            continue;
        }
        int ended = SSL_get_error(s->ssl, r) == SSL_ERROR_ZERO_RETURN;
        int again = tls_wants_more(s->ssl, r);
        if (got) break;
        return again ? AGAIN : ended ? 0 : BROKEN;
    }
    return (ssize_t)got;
}

/* Write up to n bytes: how many, AGAIN or BROKEN. */
static ssize_t socket_write(Socket *s, const uint8_t *p, size_t n)
{
    if (!s->ssl) return plain_result(send(s->fd, p, n, MSG_NOSIGNAL));
    size_t done = 0;
    while (done < n) {
        size_t record = n - done > 16384 ? 16384 : n - done;
        int r = SSL_write(s->ssl, p + done, (int)record);
        if (r <= 0) {
            int again = tls_wants_more(s->ssl, r);
            if (done) break;
            return again ? AGAIN : BROKEN;
        }
        done += (size_t)r;
    }
    return (ssize_t)done;
}

static int new_socket(void)
{
    int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) die("socket");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    return fd;
}

/* A.B.C.D:PORT */
static struct sockaddr_in parse_address(const char *text)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    char host[64];
    const char *colon = strrchr(text, ':');
    size_t length = colon ? (size_t)(colon - text) : sizeof host;
    if (length < sizeof host) {
        memcpy(host, text, length);
        host[length] = 0;
        address.sin_port = htons((uint16_t)atoi(colon + 1));
        if (inet_pton(AF_INET, host, &address.sin_addr) == 1) return address;
    }
    fprintf(stderr, "load: no address: %s\n", text);
    exit(2);
}

#endif
