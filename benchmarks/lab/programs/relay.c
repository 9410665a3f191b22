/* relay - the least that a relay of TCP can do: one thread, one edge-triggered epoll set.
 *
 *   relay LISTEN BACKEND [--splice | --tls CERTIFICATE,KEY]
 *
 * Addresses are A.B.C.D:PORT. --splice moves the bytes through pipes in the kernel, --tls ends
 * TLS of the clients. It is what the benchmarks compare with: it has no timeouts, no log and no
 * limits, and waits for nobody when it has no memory. It shares its lower half with the load
 * generator. Who frees what: a Side owns its descriptor, SSL, pipe and pending bytes, and is
 * freed after the turn of the loop in which it was closed, since events may still point there.
 */
#include "sockets.h"

#include <fcntl.h>
#include <signal.h>

#define PIPE_SIZE 262144
#define POOLED 1024 /* pipes */
#define EDGES (EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET)

typedef struct Side {
    Socket socket;
    struct Side *peer;
    int is_connected, is_shaking, has_ended, hangs_up;
    uint8_t *pending; /* what waits to be written here: pending[start, end) */
    size_t start, end;
    int pipe[2]; /* --splice: the same, in a pipe; -1 without */
    size_t piped;
    struct Side *next;
} Side;

static struct sockaddr_in backend;
static SSL_CTX *server_tls;
static int is_splicing, pipes[POOLED][2], pipe_count;
static uint8_t buffer[PIPE_SIZE];
static Side *closed;

/* ------------------------------------------------------------------------ sides */

static int take_pipe(Side *s)
{
    if (s->pipe[0] >= 0) return 0;
    if (pipe_count) {
        memcpy(s->pipe, pipes[--pipe_count], sizeof s->pipe);
        return 0;
    }
    if (pipe2(s->pipe, O_NONBLOCK | O_CLOEXEC)) {
        s->pipe[0] = -1;
        return -1;
    }
    fcntl(s->pipe[0], F_SETPIPE_SZ, PIPE_SIZE);
    return 0;
}

static void give_pipe(Side *s)
{
    if (s->pipe[0] < 0) return;
    if (s->piped || pipe_count == POOLED) {
        close(s->pipe[0]);
        close(s->pipe[1]);
    } else memcpy(pipes[pipe_count++], s->pipe, sizeof s->pipe);
    s->pipe[0] = -1;
    s->piped = 0;
}

static Side *new_side(int fd)
{
    Side *s = checked(calloc(1, sizeof *s));
    s->socket.kind = CLIENT;
    s->socket.fd = fd;
    s->pipe[0] = -1;
    return s;
}

static void close_side(Side *s)
{
    if (s->socket.fd < 0) return;
    socket_close(&s->socket);
    give_pipe(s);
    free(s->pending);
    s->pending = NULL;
    s->next = closed;
    closed = s;
}

static void close_both(Side *s)
{
    close_side(s->peer);
    close_side(s);
}

static void free_closed(void)
{
    while (closed) {
        Side *s = closed;
        closed = s->next;
        free(s);
    }
}

/* ------------------------------------------------------------------------ bytes */

static int is_waiting(const Side *s) { return s->piped || s->pending; }

/* Write what waits: 1 all of it, 0 not all, BROKEN. */
static int flush(Side *s)
{
    while (s->piped) {
        ssize_t n = splice(s->pipe[0], NULL, s->socket.fd, NULL, s->piped,
                           SPLICE_F_NONBLOCK | SPLICE_F_MOVE);
        if (n <= 0) return n < 0 && errno == EAGAIN ? 0 : BROKEN;
        s->piped -= (size_t)n;
    }
    give_pipe(s);
    while (s->start < s->end) {
        ssize_t n = socket_write(&s->socket, s->pending + s->start, s->end - s->start);
        if (n < 0) return n == AGAIN ? 0 : BROKEN;
        s->start += (size_t)n;
    }
    free(s->pending);
    s->pending = NULL;
    s->start = s->end = 0;
    return 1;
}

/* Read once from s and write to its peer. 1 to go on, 0 at the end, AGAIN, BROKEN. */
static int copy(Side *s)
{
    Side *to = s->peer;
    ssize_t n = socket_read(&s->socket, buffer, sizeof buffer);
    if (n <= 0) return (int)n;
    ssize_t done = socket_write(&to->socket, buffer, (size_t)n);
    if (done == BROKEN) return BROKEN;
    if (done == AGAIN) done = 0;
    if (done < n) {
        to->end = (size_t)(n - done);
        to->pending = checked(malloc(to->end));
        memcpy(to->pending, buffer + done, to->end);
        return AGAIN;
    }
    /* A short read emptied the socket; more will make a new edge. */
    return !s->socket.ssl && (size_t)n < sizeof buffer && !s->hangs_up ? AGAIN : 1;
}

static int splice_once(Side *s)
{
    Side *to = s->peer;
    if (take_pipe(to)) return BROKEN;
    ssize_t n = splice(s->socket.fd, NULL, to->pipe[1], NULL, PIPE_SIZE,
                       SPLICE_F_NONBLOCK | SPLICE_F_MOVE);
    if (n > 0) {
        to->piped = (size_t)n;
        return 1;
    }
    int again = errno == EAGAIN;
    give_pipe(to);
    return n == 0 ? 0 : again ? AGAIN : BROKEN;
}

/* Move what can be read from s to its peer. */
static void pump(Side *s)
{
    Side *to = s->peer;
    if (s->socket.fd < 0 || !to->is_connected || s->is_shaking || to->is_shaking) return;
    for (int turn = 0; turn < 64; turn++) {
        int state = is_waiting(to) ? flush(to) : 1;
        if (state == 0 || (state == 1 && s->has_ended)) return;
        if (state == 1) state = is_splicing ? splice_once(s) : copy(s);
        if (state == AGAIN) return;
        if (state == 0) {
            s->has_ended = 1;
            if (to->has_ended || to->socket.ssl) close_both(s);
            else shutdown(to->socket.fd, SHUT_WR);
            return;
        }
        if (state == BROKEN) {
            close_both(s);
            return;
        }
    }
    /* Others have their turn: ask for the edge again. */
    struct epoll_event e = {.events = EDGES, .data.ptr = s};
    epoll_ctl(poller, EPOLL_CTL_MOD, s->socket.fd, &e);
}

/* ------------------------------------------------------------------------ events */

static void shake(Side *s)
{
    int r = SSL_accept(s->socket.ssl);
    if (r == 1) s->is_shaking = 0;
    else if (!tls_wants_more(s->socket.ssl, r)) close_both(s);
}

static void connected(Side *s)
{
    int error = 0;
    socklen_t size = sizeof error;
    getsockopt(s->socket.fd, SOL_SOCKET, SO_ERROR, &error, &size);
    if (error) {
        close_both(s);
        return;
    }
    s->is_connected = 1;
    pump(s->peer);
}

static void side_event(Side *s, uint32_t events)
{
    if (s->socket.fd < 0) return;
    if (s->is_shaking) {
        shake(s);
        if (s->socket.fd < 0 || s->is_shaking) return;
        pump(s->peer); /* it may have waited for this */
        events |= EPOLLIN;
    }
    if (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) s->hangs_up = 1;
    if (s->socket.fd >= 0 && !s->is_connected) {
        if (!(events & (EPOLLOUT | EPOLLERR | EPOLLHUP))) return;
        connected(s);
    }
    if (s->socket.fd >= 0 && events & EPOLLOUT && is_waiting(s)) pump(s->peer);
    if (s->socket.fd >= 0 && events & ~(uint32_t)EPOLLOUT) pump(s);
}

static void accept_one(int fd)
{
    int one = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    Side *client = new_side(fd), *server = new_side(new_socket());
    client->peer = server;
    server->peer = client;
    client->is_connected = 1;
    if (server_tls) {
        client->socket.ssl = checked(SSL_new(server_tls));
        SSL_set_fd(client->socket.ssl, fd);
        client->is_shaking = 1;
    }
    connect(server->socket.fd, (struct sockaddr *)&backend, sizeof backend);
    socket_watch(&server->socket, EDGES);
    socket_watch(&client->socket, EDGES);
}

static void accept_some(int listener)
{
    for (int i = 0; i < 64; i++) {
        int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0) return;
        accept_one(fd);
    }
}

/* ------------------------------------------------------------------------ start */

static SSL_CTX *make_tls(const char *files)
{
    char certificate[512];
    const char *comma = strchr(files, ',');
    if (!comma || comma - files >= (int)sizeof certificate) return NULL;
    snprintf(certificate, sizeof certificate, "%.*s", (int)(comma - files), files);
    SSL_CTX *made = checked(SSL_CTX_new(TLS_server_method()));
    SSL_CTX_set_mode(made, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                               SSL_MODE_RELEASE_BUFFERS);
    if (SSL_CTX_use_certificate_chain_file(made, certificate) == 1 &&
        SSL_CTX_use_PrivateKey_file(made, comma + 1, SSL_FILETYPE_PEM) == 1)
        return made;
    SSL_CTX_free(made);
    return NULL;
}

static int start_listening(const char *text)
{
    struct sockaddr_in address = parse_address(text);
    int one = 1, fd = new_socket();
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(fd, (struct sockaddr *)&address, sizeof address) || listen(fd, 4096)) die(text);
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = NULL};
    if (epoll_ctl(poller, EPOLL_CTL_ADD, fd, &e)) die("epoll_ctl");
    return fd;
}

int main(int count, char **words)
{
    is_splicing = count == 4 && !strcmp(words[3], "--splice");
    if (count == 5 && !strcmp(words[3], "--tls")) server_tls = make_tls(words[4]);
    if (count < 3 || (count > 3 && !is_splicing && !server_tls)) {
        fprintf(stderr, "relay LISTEN BACKEND [--splice | --tls CERTIFICATE,KEY]\n");
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    backend = parse_address(words[2]);
    poller = epoll_create1(EPOLL_CLOEXEC);
    if (poller < 0) die("epoll_create1");
    int listener = start_listening(words[1]);
    struct epoll_event events[512];
    for (;;) {
        int n = epoll_wait(poller, events, 512, -1);
        for (int i = 0; i < n; i++) {
            Side *s = events[i].data.ptr;
            if (s) side_event(s, events[i].events);
            else accept_some(listener);
        }
        free_closed();
    }
}
