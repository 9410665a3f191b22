/* One side of a link: a socket that we own, with TLS or without.
 *
 * Reading and writing are those of recv(2) and send(2), whatever is below. Nothing is kept here:
 * what a socket does not take waits in the flow that writes to it. A side is closed in one place,
 * side_close(), which frees all that was meant for it and tells the handler.
 */
#include "_native.h"

#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

/* SSL_get_error(3): the values are part of OpenSSL's interface; its headers are not needed. */
enum {
    TLS_WANT_READ = 2,
    TLS_WANT_WRITE = 3,
    TLS_SYSCALL = 5,
    TLS_ZERO_RETURN = 6,
};
#define TLS_RECORD 16384 /* RFC 8446 section 5.1 */

void side_close(Side *s, int error)
{
    if (s->fd < 0) return;
    Link *l = s->link;
    Plane *p = l->plane;
    Flow *to = &l->flow[1 - s->index], *from = &l->flow[s->index];
    if (s->closing && error != ECONNABORTED) error = 0; /* the end that was wanted */
    if (s->ssl && !s->shut && !error) {
        p->err_clear();
        p->ssl_shutdown(s->ssl);
    }
    if (error == ECONNABORTED) {
        struct linger none = {1, 0};
        setsockopt(s->fd, SOL_SOCKET, SO_LINGER, &none, sizeof none);
    }
    /* Where another descriptor of the same socket is still open, closing ours would leave the
     * registration behind, with a pointer to freed memory. */
    if (!s->is_ours) epoll_ctl(p->epoll, EPOLL_CTL_DEL, s->fd, NULL);
    close(s->fd);
    s->fd = -1;
    s->ssl = NULL;
    flow_drop(to);
    from->ended = from->end_told = 1;
    flow_forget(from);
    Py_INCREF(l);
    link_tell(l, "lost", "(ii)", (int)s->index, error);
    /* The other side's bytes have nowhere to go, but its end must be heard. */
    if (l->side[1 - s->index].fd >= 0) flow_later(to);
    if (l->side[0].fd < 0 && l->side[1].fd < 0 && !l->is_dead) {
        l->is_dead = 1;
        plane_leave(p);
        l->next_dead = p->dead;
        p->dead = l;
    }
    Py_DECREF(l);
}

/* What SSL_get_error() said, as an errno; lost: that of a TLS failure. */
static int tls_errno(int code, int lost)
{
    if (code == TLS_WANT_READ || code == TLS_WANT_WRITE) return EAGAIN;
    return code == TLS_SYSCALL && errno ? errno : lost;
}

/* Send close_notify. A socket that is full with what went before takes it later: to be read is
 * what it waits for then, and side_recv() tries again. */
static void tls_shut(Side *s)
{
    Plane *p = s->link->plane;
    p->err_clear();
    errno = 0;
    int n = p->ssl_shutdown(s->ssl);
    s->shut_blocked = n < 0 && p->ssl_get_error(s->ssl, n) == TLS_WANT_WRITE;
    if (s->shut_blocked) s->read_blocked = 1;
}

ssize_t side_recv(Side *s, uint8_t *to, size_t room)
{
    if (!s->ssl) {
        ssize_t n;
        do n = recv(s->fd, to, room, 0);
        while (n < 0 && errno == EINTR);
        return n;
    }
    Plane *p = s->link->plane;
    s->read_blocked = 0;
    if (s->shut_blocked) tls_shut(s);
    p->err_clear();
    errno = 0;
    int n = p->ssl_read(s->ssl, to, (int)(room > INT32_MAX ? INT32_MAX : room));
    if (n > 0) return n;
    int code = p->ssl_get_error(s->ssl, n);
    if (code == TLS_ZERO_RETURN) return 0;
    if (code == TLS_WANT_WRITE) s->read_blocked = 1;
    errno = tls_errno(code, ECONNRESET);
    return -1;
}

ssize_t side_send(Side *s, const uint8_t *from, size_t n)
{
    if (!s->ssl) {
        ssize_t k;
        do k = send(s->fd, from, n, MSG_NOSIGNAL);
        while (k < 0 && errno == EINTR);
        return k;
    }
    Plane *p = s->link->plane;
    size_t done = 0;
    s->write_blocked = 0;
    while (done < n) {
        size_t piece = n - done > TLS_RECORD ? TLS_RECORD : n - done;
        p->err_clear();
        errno = 0;
        int k = p->ssl_write(s->ssl, from + done, (int)piece);
        if (k > 0) {
            done += (size_t)k;
            continue;
        }
        int code = p->ssl_get_error(s->ssl, k);
        s->write_blocked = code == TLS_WANT_READ;
        if (done) break;
        errno = tls_errno(code, EPIPE);
        return -1;
    }
    return (ssize_t)done;
}

void side_finish(Side *s)
{
    if (s->fd < 0) return;
    const int is_last = s->closing && s->link->flow[s->index].ended;
    if (!s->shut) {
        s->shut = 1;
        if (s->ssl) {
            tls_shut(s);
            s->closing = 1; /* TLS has no half-close */
        } else if (!is_last || !s->is_ours) { /* else close(2) says it too */
            shutdown(s->fd, SHUT_WR);
        }
    }
    if (s->closing && s->link->flow[s->index].ended) side_close(s, 0);
}
