/* The backend: an echo, a source and a sink, behind TCP or WebSocket.
 *
 * What it does is said by the first byte that a connection sends, and after an upgrade by the
 * first byte of the first message: 'E' echo; 'D' and 15 digits, an endless source of messages
 * of that size; 'U' a sink, which answers one 'A' for each MiB. Anything else is HTTP/1.1, of
 * which the upgrade and the GETs of http.h are understood.
 */
#ifndef BACKEND_H
#define BACKEND_H
#include "http.h"

enum { UNKNOWN, ECHO_BACK, SOURCE, SINK };

typedef struct Served {
    Socket socket;
    int work, is_http, is_websocket, is_closing;
    uint8_t *in; /* a head or frame that is not complete */
    size_t in_length, in_capacity;
    uint8_t *out; /* what the peer has not taken yet: out[out_start, out_end) */
    size_t out_start, out_end, out_capacity;
    uint64_t sunk, answered; /* SINK: bytes */
    uint64_t left;           /* SINK: of a message of which only the rest comes */
    size_t size, sent;       /* SOURCE: of a message; how much of one has gone already */
    struct Served *next;
} Served;

static struct {
    uint64_t accepted, open, upgraded, asked, faults; /* asked: by GET */
} backend, backend_before;
static Served *ended;  /* closed in this turn of the loop; events may still point there */
static uint8_t *reply; /* made here before it is sent */
static size_t reply_length, reply_capacity;

static uint8_t *reply_room(size_t n)
{
    if (reply_capacity < reply_length + n) {
        reply_capacity = (reply_length + n) * 2;
        reply = checked(realloc(reply, reply_capacity));
    }
    reply_length += n;
    return reply + reply_length - n;
}

static void served_close(Served *c)
{
    if (c->socket.fd < 0) return;
    socket_close(&c->socket);
    free(c->in);
    free(c->out);
    c->in = c->out = NULL;
    backend.open--;
    c->next = ended;
    ended = c;
}

static void served_bury(void)
{
    while (ended) {
        Served *c = ended;
        ended = c->next;
        free(c);
    }
}

static int has_output(const Served *c) { return c->out_start < c->out_end; }

static void served_flush(Served *c)
{
    while (has_output(c)) {
        ssize_t n = socket_write(&c->socket, c->out + c->out_start, c->out_end - c->out_start);
        if (n == AGAIN) {
            socket_watch(&c->socket, EPOLLOUT);
            return;
        }
        if (n < 0) {
            served_close(c);
            return;
        }
        c->out_start += (size_t)n;
    }
    c->out_start = c->out_end = 0;
    if (c->out_capacity > MIB) {
        free(c->out);
        c->out = NULL;
        c->out_capacity = 0;
    }
    if (c->is_closing) served_close(c);
    else socket_watch(&c->socket, EPOLLIN);
}

/* Send; what does not fit is kept, and nothing is read until it has gone. */
static void served_send(Served *c, const uint8_t *p, size_t n)
{
    if (c->socket.fd < 0 || !n) return;
    if (!has_output(c)) {
        ssize_t done = socket_write(&c->socket, p, n);
        if (done == BROKEN) {
            served_close(c);
            return;
        }
        if (done > 0) {
            p += done;
            n -= (size_t)done;
        }
        if (!n) return;
    }
    if (c->out_capacity < c->out_end + n) {
        c->out_capacity = (c->out_end + n) * 2;
        c->out = checked(realloc(c->out, c->out_capacity));
    }
    memcpy(c->out + c->out_end, p, n);
    c->out_end += n;
    socket_watch(&c->socket, EPOLLOUT);
}

/* Fill the socket, with at most a MiB in one turn. */
static void served_source(Served *c)
{
    uint8_t head[MAX_HEAD];
    size_t headed = c->is_websocket ? frame_head(head, 0x82, c->size) : 0;
    size_t unit = headed + c->size;
    for (size_t turn = 0; turn < MIB;) {
        reply_length = 0;
        while (reply_length < 262144) {
            uint8_t *p = reply_room(unit);
            memcpy(p, head, headed);
            memcpy(p + headed, pattern, c->size);
        }
        size_t wanted = reply_length - c->sent;
        ssize_t n = socket_write(&c->socket, reply + c->sent, wanted);
        if (n == AGAIN) break;
        if (n < 0) {
            served_close(c);
            return;
        }
        c->sent = (c->sent + (size_t)n) % unit;
        turn += (size_t)n;
        if ((size_t)n < wanted) break;
    }
    socket_watch(&c->socket, EPOLLIN | EPOLLOUT);
}

/* Take up a work, by the first bytes of payload: 16 of them for a source. */
static void served_begin(Served *c, const uint8_t *p, size_t n)
{
    c->work = *p == 'D' ? SOURCE : *p == 'U' ? SINK : ECHO_BACK;
    if (c->work != SOURCE) return;
    char digits[MARK] = {0};
    memcpy(digits, p + 1, n < MARK ? n - 1 : MARK - 1);
    c->size = strtoul(digits, NULL, 10);
    if (!c->size || c->size > MAX_SIZE) c->size = 65536;
}

/* Answer for what has sunk. */
static void served_answer(Served *c)
{
    static const uint8_t frame[] = {0x82, 1, 'A'};
    reply_length = 0;
    for (; c->sunk - c->answered >= MIB; c->answered += MIB) {
        if (c->is_websocket) memcpy(reply_room(3), frame, 3);
        else *reply_room(1) = 'A';
    }
    served_send(c, reply, reply_length);
}

static void served_get(Served *c, const Asked *asked)
{
    char head[MAX_REQUEST];
    size_t length = write_answer(head, asked), marked = asked->mark ? MARK : 0;
    backend.asked++;
    reply_length = 0;
    uint8_t *to = reply_room(length + asked->size);
    memcpy(to, head, length);
    if (marked) memcpy(to + length, asked->mark, MARK);
    memcpy(to + length + marked, pattern + marked, asked->size - marked);
    c->is_closing = asked->is_last;
    served_send(c, reply, reply_length);
    if (c->is_closing && !has_output(c)) served_close(c);
}

/* A head, whole or not: what of it was used. */
static size_t served_http(Served *c, const char *p, size_t n)
{
    const char *end = memmem(p, n, "\r\n\r\n", 4);
    if (!end) return 0;
    size_t length = (size_t)(end + 4 - p), keyed;
    const char *key = find_field(p, length, "sec-websocket-key", &keyed);
    Asked asked;
    if (!key && !read_request(p, length, &asked)) {
        served_get(c, &asked);
        return length;
    }
    if (!key || keyed > 64) {
        backend.faults++;
        served_close(c);
        return n;
    }
    char accept[32], answer[256];
    accept_for(key, keyed, accept);
    int written = snprintf(answer, sizeof answer,
                           "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
                           "Connection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n",
                           accept);
    backend.upgraded++;
    c->is_websocket = 1;
    served_send(c, (uint8_t *)answer, (size_t)written);
    return length;
}

/* One whole frame, its payload at p; the answer goes to the reply. */
static void served_frame(Served *c, uint8_t first, const uint8_t *p, size_t n,
                         const uint8_t mask[4])
{
    uint8_t head[MAX_HEAD], begin[MARK];
    int opcode = first & 15;
    if (opcode <= 2 && c->work == UNKNOWN && n) {
        size_t some = n < MARK ? n : MARK;
        mask_copy(begin, p, some, mask);
        served_begin(c, begin, some);
    }
    if (opcode <= 2 && c->work == SINK) c->sunk += n;
    if (opcode == 10 || (opcode <= 2 && c->work != ECHO_BACK)) return;
    if (opcode == 9) first = 0x8a;
    if (opcode == 8) c->is_closing = 1;
    size_t headed = frame_head(head, first, n);
    uint8_t *to = reply_room(headed + n);
    memcpy(to, head, headed);
    mask_copy(to + headed, p, n, mask);
}

/* Frames: how much was used; need is the length of a frame that is not whole. */
static size_t served_frames(Served *c, const uint8_t *p, size_t n, size_t *need)
{
    size_t used = 0;
    reply_length = 0;
    while (n - used >= 2 && !c->is_closing) {
        const uint8_t *q = p + used;
        size_t there = n - used, head = head_length(q[1]);
        int is_masked = q[1] >> 7;
        if (!is_masked) {
            backend.faults++;
            served_close(c);
            return n;
        }
        if (there < head + 4) break;
        uint64_t length = payload_length(q);
        size_t whole = head + 4 + length;
        if (c->work == SINK && whole > there) { /* need not be gathered */
            c->sunk += length;
            c->left = whole - there;
            used = n;
            break;
        }
        if (there < whole) {
            *need = whole;
            break;
        }
        served_frame(c, q[0], q + head + 4, length, q + head);
        used += whole;
    }
    served_send(c, reply, reply_length);
    if (c->socket.fd >= 0 && c->work == SINK) served_answer(c);
    return used;
}

static size_t served_websocket(Served *c, const uint8_t *p, size_t n, size_t *need)
{
    size_t rest = n < c->left ? n : c->left;
    c->left -= rest;
    if (c->work == SOURCE) return n;
    size_t used = rest + served_frames(c, p + rest, n - rest, need);
    if (c->socket.fd < 0) return n;
    if (c->is_closing && !has_output(c)) served_close(c);
    else if (c->work == SOURCE) served_source(c);
    return used;
}

/* Bytes came: how many of them were used. */
static size_t served_data(Served *c, const uint8_t *p, size_t n, size_t *need)
{
    if (c->is_websocket) return served_websocket(c, p, n, need);
    if (c->work == UNKNOWN && !c->is_http) {
        c->is_http = !memchr("EDU", *p, 3);
        if (!c->is_http && *p == 'D' && n < MARK) return 0;
        if (!c->is_http) served_begin(c, p, n);
    }
    if (c->is_http) {
        size_t used = 0, some = 1;
        while (some && used < n && !c->is_websocket && c->socket.fd >= 0) {
            some = served_http(c, (const char *)p + used, n - used);
            used += some;
        }
        if (c->socket.fd < 0 || !c->is_websocket || used == n) return used;
        return used + served_websocket(c, p + used, n - used, need);
    }
    if (c->work == ECHO_BACK) served_send(c, p, n);
    else if (c->work == SINK) {
        c->sunk += n;
        served_answer(c);
    } else served_source(c);
    return n;
}

static void served_readable(Served *c)
{
    uint8_t *p = scratch;
    size_t room = sizeof scratch, need = 0;
    if (c->in_length) { /* read behind what is there */
        if (c->in_capacity - c->in_length < 65536) {
            c->in_capacity = c->in_capacity * 2 + 65536;
            c->in = checked(realloc(c->in, c->in_capacity));
        }
        p = c->in + c->in_length;
        room = c->in_capacity - c->in_length;
    }
    ssize_t n = socket_read(&c->socket, p, room);
    if (n == AGAIN) return;
    if (n <= 0) {
        served_close(c);
        return;
    }
    size_t length = c->in_length + (size_t)n;
    p -= c->in_length;
    size_t used = served_data(c, p, length, &need);
    if (c->socket.fd < 0) return;
    c->in_length = length - used;
    if (!c->in_length) return;
    size_t wanted = (need > c->in_length ? need : c->in_length) + 1024;
    if (p == scratch) {
        if (c->in_capacity < wanted) {
            free(c->in);
            c->in = checked(malloc(wanted));
            c->in_capacity = wanted;
        }
        memcpy(c->in, scratch + used, c->in_length);
        return;
    }
    memmove(c->in, c->in + used, c->in_length);
    if (c->in_capacity < wanted) {
        c->in = checked(realloc(c->in, wanted));
        c->in_capacity = wanted;
    }
}

static void served_event(Served *c, uint32_t events)
{
    if (c->socket.fd < 0) return;
    if (events & EPOLLOUT) {
        if (has_output(c)) served_flush(c);
        else if (c->work == SOURCE) served_source(c);
        else socket_watch(&c->socket, EPOLLIN);
    }
    if (c->socket.fd >= 0 && events & (EPOLLIN | EPOLLHUP | EPOLLERR)) served_readable(c);
}

static void backend_accept(Socket *listener)
{
    for (int i = 0; i < 64; i++) {
        int one = 1, fd = accept4(listener->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0) return;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        Served *c = checked(calloc(1, sizeof *c));
        c->socket.kind = SERVED;
        c->socket.fd = fd;
        backend.accepted++;
        backend.open++;
        socket_watch(&c->socket, EPOLLIN);
    }
}

static void backend_listen(const char *text)
{
    static Socket listener = {.kind = LISTENER};
    struct sockaddr_in address = parse_address(text);
    int one = 1;
    listener.fd = new_socket();
    setsockopt(listener.fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(listener.fd, (struct sockaddr *)&address, sizeof address)) die(text);
    if (listen(listener.fd, 16384)) die(text);
    socket_watch(&listener, EPOLLIN);
}

#endif
