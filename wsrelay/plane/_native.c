/* The native engine's hands (RFC 6455; see wsrelay/plane/native.py for its head).
 *
 * One Plane owns one epoll instance. Its descriptor is readable whenever any socket of any
 * link is ready, so a reactor watches that one, and process() serves a bounded batch of all
 * that is ready, in the reactor's thread. A Link joins two sides (0 the client, 1 the
 * backend); each of its two flows reads from one side and writes to the other: flow 0 goes
 * to the backend, flow 1 to the client.
 *
 * Sockets are registered once, edge-triggered; so whoever stops reading before EAGAIN must
 * come back by himself: such a flow stands in the plane's list of those to be looked at
 * later, and an eventfd in the epoll set makes the reactor come again.
 *
 * Whatever is not plain relaying is told to the link's handler, a Python object. A handler or
 * hook may call any method of any link at any time. Therefore no method reads (there is one
 * scratch buffer, and it is in use), memory of a link is released only between batches, and a
 * flow looks at its sides again after each call into Python.
 *
 * Who frees what: a Buffer belongs to the flow it is in; a Link belongs to Python, and the
 * plane holds one reference while either of its sides is open. There is no static state.
 */
#define PY_SSIZE_T_CLEAN
#define _GNU_SOURCE
#include <Python.h>
#include <descrobject.h>
#include <errno.h>
#include <fcntl.h>
#include <structmember.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "_frames.h"

enum { LEVEL_BYTES, LEVEL_FRAMES, LEVEL_MESSAGES };

#define BATCH 256            /* events of one process() */
#define SCRATCH (256 * 1024) /* one read */
#define TURNS 8              /* reads of one flow before others have theirs */
#define HELD 144             /* an incomplete head (13) or control frame (130) */
#define HEADS (64 * 1024)    /* see HEADS in wsrelay/wire/messages.py */
#define SPLICE_AFTER 2       /* full reads in a row before splicing */
#define PIPE_SIZE (512 * 1024)

/* ------------------------------------------------------------------------ buffers */

typedef struct {
    uint8_t *data;
    size_t start, end, capacity; /* content is data[start, end) */
} Buffer;

static size_t buffer_length(const Buffer *b) { return b->end - b->start; }

static void buffer_free(Buffer *b)
{
    free(b->data);
    memset(b, 0, sizeof *b);
}

/* Make room for n more bytes. 0, or -1 without memory. */
static int buffer_reserve(Buffer *b, size_t n)
{
    if (b->capacity - b->end >= n) return 0;
    size_t length = buffer_length(b);
    if (b->start) {
        memmove(b->data, b->data + b->start, length);
        b->start = 0;
        b->end = length;
        if (b->capacity - b->end >= n) return 0;
    }
    size_t capacity = b->capacity * 2;
    if (capacity < length + n) capacity = length + n;
    uint8_t *data = realloc(b->data, capacity);
    if (!data) return -1;
    b->data = data;
    b->capacity = capacity;
    return 0;
}

static int buffer_add(Buffer *b, const uint8_t *p, size_t n)
{
    if (!n) return 0;
    if (buffer_reserve(b, n)) return -1;
    memcpy(b->data + b->end, p, n);
    b->end += n;
    return 0;
}

/* Take n bytes from the front; an empty buffer gives its memory back. */
static void buffer_take(Buffer *b, size_t n)
{
    b->start += n;
    if (b->start == b->end) buffer_free(b);
}

/* ------------------------------------------------------------------------ types */

typedef struct Link Link;

typedef struct {
    Link *link;
    void *ssl;             /* SSL *, kept alive by Python; NULL for plain */
    int fd;                /* ours, a dup; -1 once closed */
    uint8_t index;
    uint8_t hup;           /* the peer's end was seen: read until EOF */
    uint8_t closing;       /* say the end when all is written, close when the peer's was heard */
    uint8_t shut;          /* FIN or close_notify was sent */
    uint8_t read_blocked;  /* TLS: reading waits for the socket to take more */
} Side;

typedef struct Flow {
    Side *source, *sink;
    struct Flow *opposite;
    PyObject *hook;        /* or NULL */
    PyObject *inflate;     /* callable: bytes to bytes; or NULL */
    Buffer out;            /* what the sink has not taken yet */
    Buffer in;             /* MESSAGES: what is not complete, or waits for a hook */
    Buffer wire, payload;  /* MESSAGES: the fragmented message that is open */
    Buffer own, own_data, last; /* the relay's own frames, waiting for a border */
    Buffer instead;        /* goes out in place of the sender's Close frame */
    ws_rules rules;
    size_t need;           /* of in, before it makes sense to look again */
    uint64_t left;         /* FRAMES: payload to come of the frame whose head went out */
    uint64_t max_wire;     /* MESSAGES: rule 11 */
    size_t checked;        /* MESSAGES: so much of payload is known to be UTF-8 */
    size_t text_body;      /* MESSAGES: where in in the text of an incomplete frame begins; or 0 */
    size_t text_seen;      /* so much of it was looked at */
    uint8_t text_key[4], text_carry[4], text_carried; /* the character it ended in */
    uint64_t bytes, frames, messages;
    int pipe[2];           /* BYTES: for splicing; -1 without */
    size_t piped;          /* bytes in the pipe */
    uint8_t held[HELD], held_length; /* FRAMES */
    uint8_t level, index;
    uint8_t fragment_first; /* the first byte of the open fragmented message */
    struct Flow *next_later;
    uint8_t is_later;      /* it is in the plane's list */
    uint8_t again;         /* look at in before reading */
    uint8_t full;          /* full reads in a row */
    uint8_t mute;          /* nothing of the sender's is forwarded */
    uint8_t muting;        /* mute at the next border */
    uint8_t silent;        /* nothing is even looked at */
    uint8_t waiting;       /* a hook's answer is still to come */
    uint8_t crowded;       /* the sender does not read what it is answered: ask no more */
    uint8_t ended;         /* EOF was read */
    uint8_t end_told;
    uint8_t finishing;     /* FIN when out is empty */
    uint8_t in_step, same_coding, afresh, deflates; /* see plane/messages.py */
} Flow;

typedef struct {
    PyObject_HEAD
    int epoll;
    uint8_t running;
    uint8_t *scratch;
    int wake;              /* eventfd */
    Flow *later;
    Link *dead;
    /* What messages_take() is at: of now_flow's bytes now_data, [now_run, now_at) go on as
     * they came, after what is in batch. */
    Flow *now_flow;
    const uint8_t *now_data;
    size_t now_run, now_at;
    Buffer batch;
    uint64_t seed;
    double now;
    Py_ssize_t links;
    PyObject *message_type;
    Py_ssize_t data_offset, is_text_offset;
    /* OpenSSL, the one that made the SSL * we are given; NULL without TLS. */
    int (*ssl_read)(void *, void *, int);
    int (*ssl_write)(void *, const void *, int);
    int (*ssl_get_error)(const void *, int);
    int (*ssl_shutdown)(void *);
    void (*err_clear)(void);
} Plane;

struct Link {
    PyObject_HEAD
    Plane *plane;
    PyObject *handler;
    Side side[2];
    Flow flow[2];
    double active;
    Link *next_dead;
    uint8_t is_dead;
};


static double monotonic(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* A masking key; unpredictable to who chooses payloads (RFC 6455 section 10.3). */
static void new_key(Plane *p, uint8_t *key)
{
    (void)p;
    if (getrandom(key, 4, GRND_NONBLOCK) != 4) {
        uint64_t x = (p->seed += UINT64_C(0x9E3779B97F4A7C15));
        x = (x ^ (x >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
        memcpy(key, &x, 4);
    }
}

/* Look at a flow when process() comes to it: never from within something else. */
static void flow_later(Flow *f)
{
    Plane *p = f->source->link->plane;
    if (f->is_later || f->source->link->is_dead) return;
    f->is_later = 1;
    f->next_later = p->later;
    if (!p->later && !p->running) eventfd_write(p->wake, 1);
    p->later = f;
}

/* ------------------------------------------------------------------------ telling */

/* Call a method of the handler. An exception there ends up in sys.unraisablehook. */
static void tell(Link *l, const char *method, const char *format, ...)
{
    if (!l->handler) return;
    PyObject *handler = l->handler;
    Py_INCREF(handler);
    va_list arguments;
    va_start(arguments, format);
    PyObject *args = Py_VaBuildValue(format, arguments);
    va_end(arguments);
    PyObject *bound = args ? PyObject_GetAttrString(handler, method) : NULL;
    PyObject *answer = bound ? PyObject_CallObject(bound, args) : NULL;
    if (!answer) PyErr_WriteUnraisable(handler);
    Py_XDECREF(answer);
    Py_XDECREF(bound);
    Py_XDECREF(args);
    Py_DECREF(handler);
}

/* ------------------------------------------------------------------------ sides */

/* Close one side for good, and say so. error: an errno, or 0 for a clean end. */
static void side_close(Side *s, int error)
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
    /* Another descriptor of the same socket is still open: closing ours would leave the
     * registration behind, with a pointer to freed memory. */
    epoll_ctl(p->epoll, EPOLL_CTL_DEL, s->fd, NULL);
    close(s->fd);
    s->fd = -1;
    s->ssl = NULL;
    buffer_free(&to->out);
    buffer_free(&to->own);
    buffer_free(&to->own_data);
    buffer_free(&to->last);
    buffer_free(&to->instead);
    if (to->pipe[0] >= 0) {
        close(to->pipe[0]);
        close(to->pipe[1]);
        to->pipe[0] = to->pipe[1] = -1;
        to->piped = 0;
    }
    from->ended = from->end_told = 1;
    buffer_free(&from->in);
    buffer_free(&from->wire);
    buffer_free(&from->payload);
    Py_INCREF(l);
    tell(l, "lost", "(ii)", (int)s->index, error);
    /* The other side's bytes have nowhere to go, but its end must be heard. */
    if (l->side[1 - s->index].fd >= 0) flow_later(to);
    if (l->side[0].fd < 0 && l->side[1].fd < 0 && !l->is_dead) {
        l->is_dead = 1;
        l->next_dead = p->dead;
        p->dead = l;
    }
    Py_DECREF(l);
}

/* As recv(2). TLS: 0 is the peer's close_notify. */
static ssize_t side_recv(Side *s, uint8_t *to, size_t room)
{
    if (!s->ssl) {
        ssize_t n;
        do n = recv(s->fd, to, room, 0);
        while (n < 0 && errno == EINTR);
        return n;
    }
    Plane *p = s->link->plane;
    s->read_blocked = 0;
    p->err_clear();
    int n = p->ssl_read(s->ssl, to, (int)(room > INT32_MAX ? INT32_MAX : room));
    if (n > 0) return n;
    int code = p->ssl_get_error(s->ssl, n);
    if (code == 6 /* SSL_ERROR_ZERO_RETURN */) return 0;
    if (code == 3 /* SSL_ERROR_WANT_WRITE */) s->read_blocked = 1;
    errno = code == 2 || code == 3 ? EAGAIN : code == 5 && errno ? errno : ECONNRESET;
    return -1;
}

/* As send(2). */
static ssize_t side_send(Side *s, const uint8_t *from, size_t n)
{
    if (!s->ssl) {
        ssize_t k;
        do k = send(s->fd, from, n, MSG_NOSIGNAL);
        while (k < 0 && errno == EINTR);
        return k;
    }
    Plane *p = s->link->plane;
    size_t done = 0;
    while (done < n) {
        size_t piece = n - done > 16384 ? 16384 : n - done;
        p->err_clear();
        int k = p->ssl_write(s->ssl, from + done, (int)piece);
        if (k > 0) {
            done += (size_t)k;
            continue;
        }
        int code = p->ssl_get_error(s->ssl, k);
        if (done) break;
        errno = code == 2 || code == 3 ? EAGAIN : code == 5 && errno ? errno : EPIPE;
        return -1;
    }
    return (ssize_t)done;
}

/* Tell the peer that nothing more will come. */
static void side_finish(Side *s)
{
    if (s->fd < 0) return;
    if (!s->shut) {
        s->shut = 1;
        if (s->ssl) {
            s->link->plane->err_clear();
            s->link->plane->ssl_shutdown(s->ssl);
            s->closing = 1; /* TLS has no half-close */
        } else {
            shutdown(s->fd, SHUT_WR);
        }
    }
    if (s->closing && s->link->flow[s->index].ended) side_close(s, 0);
}

/* ------------------------------------------------------------------------ writing */

static void flow_fail(Flow *f, int error) { side_close(f->sink, error); }

/* Send, and keep what the sink does not take. */
static void flow_put(Flow *f, const uint8_t *p, size_t n)
{
    if (!n || f->sink->fd < 0 || f->sink->shut) return;
    if (!buffer_length(&f->out) && !f->piped) {
        ssize_t k = side_send(f->sink, p, n);
        if (k < 0) {
            if (errno != EAGAIN && errno != EWOULDBLOCK) {
                flow_fail(f, errno);
                return;
            }
            k = 0;
        }
        p += k;
        n -= (size_t)k;
        if (!n) return;
    }
    if (buffer_add(&f->out, p, n)) flow_fail(f, ENOMEM);
}

/* 1 when the sink has taken everything. */
static int flow_flush(Flow *f)
{
    while (f->piped) {
        ssize_t k = splice(f->pipe[0], NULL, f->sink->fd, NULL, f->piped,
                           SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
        if (k <= 0) {
            if (k < 0 && errno == EINTR) continue;
            if (k < 0 && errno != EAGAIN) flow_fail(f, errno);
            return 0;
        }
        f->piped -= (size_t)k;
    }
    while (buffer_length(&f->out)) {
        ssize_t k = side_send(f->sink, f->out.data + f->out.start, buffer_length(&f->out));
        if (k < 0) {
            if (errno != EAGAIN && errno != EWOULDBLOCK) flow_fail(f, errno);
            return 0;
        }
        buffer_take(&f->out, (size_t)k);
    }
    return 1;
}

/* All that was forwarded has left: do what waited for that. */
static void flow_drained(Flow *f)
{
    if (f->sink->closing || f->finishing) side_finish(f->sink);
    if (f->opposite->crowded) {
        f->opposite->crowded = 0;
        f->opposite->again = 1;
        flow_later(f->opposite);
    }
}

static int flow_is_empty(const Flow *f) { return !f->piped && !buffer_length(&f->out); }

/* ------------------------------------------------------------------------ the end of a flow */

static void flow_tell_end(Flow *f)
{
    if (f->end_told || !f->ended || f->waiting) return;
    f->end_told = 1;
    tell(f->source->link, "ended", "(i)", (int)f->index);
}

static void flow_violate(Flow *f)
{
    f->silent = 1;
    buffer_free(&f->in);
    buffer_free(&f->wire);
    buffer_free(&f->payload);
    f->held_length = 0;
    tell(f->source->link, "violated", "(iis)", (int)f->index, (int)f->rules.code,
         f->rules.detail);
}

/* A Close frame with this unmasked payload is complete: check it and tell. -1: a violation. */
static int flow_check_close(Flow *f, const uint8_t *payload, size_t n)
{
    unsigned rest;
    if (n == 1) return ws_violate(&f->rules, 1002, "a Close payload of one byte");
    if (n >= 2) {
        unsigned code = (unsigned)payload[0] << 8 | payload[1];
        if (!ws_may_be_sent(code)) {
            f->rules.code = 1002;
            snprintf(f->rules.detail, sizeof f->rules.detail,
                     "close code %u must not go on the wire", code);
            return -1;
        }
        if (!ws_is_utf8(payload + 2, n - 2, 1, &rest))
            return ws_violate(&f->rules, 1007, "a close reason that is not UTF-8");
    }
    f->rules.closed = 1;
    return 0;
}

static void flow_tell_close(Flow *f, const uint8_t *payload, size_t n)
{
    f->mute = f->silent = 1;
    if (n < 2)
        tell(f->source->link, "closeReceived", "(iOs)", (int)f->index, Py_None, "");
    else
        tell(f->source->link, "closeReceived", "(iis#)", (int)f->index,
             (int)(payload[0] << 8 | payload[1]), (const char *)payload + 2,
             (Py_ssize_t)(n - 2));
}

/* ------------------------------------------------------------------------ FRAMES */

/* Forward p[0, n) with the relay's own frames at the last border in it; borders are offsets
 * or -1. */
static void frames_forward(Flow *f, const uint8_t *p, size_t n, ssize_t frame_border,
                           ssize_t message_border)
{
    if (f->mute) return;
    size_t own = buffer_length(&f->own), data = buffer_length(&f->own_data);
    if (!own && !data && !f->muting) {
        flow_put(f, p, n);
        return;
    }
    ssize_t border = data && message_border >= 0 ? message_border : frame_border;
    if (border < 0) {
        flow_put(f, p, n);
        return;
    }
    flow_put(f, p, (size_t)border);
    flow_put(f, f->own.data + f->own.start, own);
    buffer_free(&f->own);
    if (data && message_border >= 0) {
        flow_put(f, f->own_data.data + f->own_data.start, data);
        buffer_free(&f->own_data);
    }
    if (f->muting) {
        f->muting = 0;
        f->mute = 1;
        flow_put(f, f->last.data + f->last.start, buffer_length(&f->last));
        buffer_free(&f->last);
        buffer_free(&f->own_data);
    } else {
        flow_put(f, p + border, n - (size_t)border);
    }
}

/* What Scanner.feed of wsrelay/wire/frames.py does. p[0, n) begins with what was held. */
static void frames_take(Flow *f, const uint8_t *p, size_t n)
{
    ws_rules *r = &f->rules;
    size_t at = f->left;
    ssize_t frame = -1, message = -1;
    int broken = 0;
    uint8_t close[125];
    size_t close_length = 0, close_at = 0;
    if (at >= n) {
        f->left = at - n;
        if (at == n) {
            frame = (ssize_t)n;
            if (!r->inside) message = frame;
        }
        frames_forward(f, p, n, frame, message);
        return;
    }
    f->left = 0;
    f->held_length = 0;
    while (at < n) {
        ws_head h;
        frame = (ssize_t)at;
        if (!r->inside) message = frame;
        int k = ws_read_head(r, p + at, n - at, &h);
        if (k <= 0) {
            broken = k;
            break;
        }
        if (h.kind == KIND_CONTROL) {
            if (n - at < h.size + h.length) break;
            if (h.opcode == OP_CLOSE) {
                close_length = (size_t)h.length;
                if (h.key)
                    ws_mask(close, p + at + h.size, close_length, h.key);
                else
                    memcpy(close, p + at + h.size, close_length);
                if (flow_check_close(f, close, close_length)) {
                    broken = -1;
                    break;
                }
                close_at = at;
            }
        } else if (h.kind == KIND_WHOLE || h.kind == KIND_FIRST) {
            f->messages++;
        }
        ws_advance(r, &h);
        f->frames++;
        at += h.size + (size_t)h.length;
        if (r->closed) break;
    }
    size_t out = at > n ? n : at;
    if (at > n) {
        f->left = at - n;
    } else {
        frame = (ssize_t)at;
        if (!r->inside) message = frame;
        if (at < n && !broken && !r->closed) {
            f->held_length = (uint8_t)(n - at);
            memcpy(f->held, p + at, n - at);
        }
    }
    if (r->closed) {
        /* Nothing goes behind a Close: the last border is before it. */
        frame = (ssize_t)close_at;
        message = r->inside ? -1 : frame;
        if (buffer_length(&f->instead) && !f->muting) {
            f->muting = 1;
            f->last = f->instead;
            memset(&f->instead, 0, sizeof f->instead);
        }
    }
    frames_forward(f, p, out, frame, message);
    if (r->closed) flow_tell_close(f, close, close_length);
    if (broken) flow_violate(f);
}

/* ------------------------------------------------------------------------ MESSAGES */

/* Whether the flow still wants its messages looked at, after a call into Python. */
static int flow_is_live(const Flow *f)
{
    return f->source->fd >= 0 && !f->silent && !f->waiting && !f->crowded;
}

/* Send what messages_take() has decided so far; then others may write in its order. */
static void flow_sync(Flow *f)
{
    Plane *p = f->source->link->plane;
    if (p->now_flow != f) return;
    size_t n = buffer_length(&p->batch), run = p->now_at - p->now_run;
    const uint8_t *data = p->now_data + p->now_run;
    p->now_run = p->now_at;
    if (f->mute) {
        p->batch.start = p->batch.end = 0;
        return;
    }
    if (n) {
        if (buffer_add(&p->batch, data, run)) {
            flow_fail(f, ENOMEM);
            return;
        }
        n += run;
        data = p->batch.data;
        run = n;
        p->batch.start = p->batch.end = 0;
    }
    flow_put(f, data, run);
    if (p->batch.capacity > 2 * SCRATCH) buffer_free(&p->batch);
}

/* Add to the batch what goes on as it came, up to here. */
static void batch_run(Flow *f)
{
    Plane *p = f->source->link->plane;
    if (buffer_add(&p->batch, p->now_data + p->now_run, p->now_at - p->now_run))
        flow_fail(f, ENOMEM);
    p->now_run = p->now_at;
}

/* Add a frame with this payload, masked towards the backend. */
static void batch_frame(Flow *f, uint8_t first, const uint8_t *payload, size_t n)
{
    Plane *p = f->source->link->plane;
    Buffer *batch = &p->batch;
    uint8_t key[4];
    if (buffer_reserve(batch, n + 14)) {
        flow_fail(f, ENOMEM);
        return;
    }
    if (f->index == 0) new_key(p, key);
    uint8_t *o = batch->data + batch->end;
    unsigned size = ws_write_head(o, first, n, f->index == 0 ? key : NULL);
    if (f->index == 0)
        ws_mask(o + size, payload, n, key);
    else
        memcpy(o + size, payload, n);
    batch->end += size + n;
}

/* A model.Message, its two slots filled directly. Steals nothing. */
static PyObject *new_message(Plane *p, PyObject *data, int is_text)
{
    PyTypeObject *type = (PyTypeObject *)p->message_type;
    PyObject *m = type->tp_alloc(type, 0);
    if (!m) return NULL;
    Py_INCREF(data);
    *(PyObject **)((char *)m + p->data_offset) = data;
    PyObject *text = is_text ? Py_True : Py_False;
    Py_INCREF(text);
    *(PyObject **)((char *)m + p->is_text_offset) = text;
    return m;
}

static void flow_tell_failure(Flow *f)
{
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    PyErr_NormalizeException(&type, &value, &traceback);
    if (traceback) PyException_SetTraceback(value, traceback);
    tell(f->source->link, "failed", "(iO)", (int)f->index, value ? value : Py_None);
    Py_XDECREF(type);
    Py_XDECREF(value);
    Py_XDECREF(traceback);
}

/* Show one whole message to the hook. 1: forward it as it came; 0: that was dealt with;
 * -1: a violation. payload is stolen; [wire, wire + n) are its frames, which the handler gets
 * as bytes if it must decide. The batch may have been flushed. */
static int message_ask(Flow *f, uint8_t first, PyObject *payload, const uint8_t *wire, size_t n)
{
    Link *l = f->source->link;
    Plane *p = l->plane;
    int is_text = (first & 15) == OP_TEXT, compressed = (first & BIT_RSV1) != 0;
    unsigned rest;
    if (compressed) {
        PyObject *inflated = PyObject_CallOneArg(f->inflate, payload);
        Py_DECREF(payload);
        if (!inflated || !PyBytes_Check(inflated)) {
            PyObject *error = NULL, *type, *traceback;
            Py_XDECREF(inflated);
            PyErr_Fetch(&type, &error, &traceback);
            PyErr_NormalizeException(&type, &error, &traceback);
            PyObject *code = error ? PyObject_GetAttrString(error, "code") : NULL;
            PyObject *detail = error ? PyObject_Str(error) : NULL;
            const char *words = detail ? PyUnicode_AsUTF8(detail) : NULL;
            long number = code ? PyLong_AsLong(code) : 1007;
            ws_violate(&f->rules, (uint16_t)(number > 0 ? number : 1007), words ? words : "");
            PyErr_Clear();
            Py_XDECREF(code);
            Py_XDECREF(detail);
            Py_XDECREF(type);
            Py_XDECREF(error);
            Py_XDECREF(traceback);
            return -1;
        }
        payload = inflated;
    }
    if (is_text && (compressed || f->level == LEVEL_MESSAGES) &&
        !ws_is_utf8((uint8_t *)PyBytes_AS_STRING(payload), (size_t)PyBytes_GET_SIZE(payload), 1,
                    &rest)) {
        Py_DECREF(payload);
        return ws_violate(&f->rules, 1007, "text that is not UTF-8");
    }
    int raw = !compressed || (f->same_coding && (f->in_step || f->afresh));
    if (f->mute || (!f->hook && raw)) {
        Py_DECREF(payload);
        return 1;
    }
    PyObject *message = NULL, *verdict = NULL;
    if (f->hook) {
        message = new_message(p, payload, is_text);
        verdict = message ? PyObject_CallOneArg(f->hook, message) : NULL;
        if (!verdict) {
            Py_XDECREF(message);
            Py_DECREF(payload);
            flow_sync(f);
            flow_tell_failure(f);
            return 0;
        }
        if (verdict == Py_None && raw) {
            Py_DECREF(verdict);
            Py_DECREF(message);
            Py_DECREF(payload);
            return f->mute ? 0 : 1;
        }
        if (PyBytes_CheckExact(verdict) && !f->deflates && !f->mute) {
            const uint8_t *data = (uint8_t *)PyBytes_AS_STRING(verdict);
            size_t size = (size_t)PyBytes_GET_SIZE(verdict);
            if (!is_text || ws_is_utf8(data, size, 1, &rest)) {
                if (compressed) f->in_step = 0;
                batch_run(f);
                batch_frame(f, BIT_FIN | (first & 15), data, size);
                Py_DECREF(verdict);
                Py_DECREF(message);
                Py_DECREF(payload);
                return 0;
            }
        }
    } else {
        message = new_message(p, payload, is_text);
        verdict = Py_None;
        Py_INCREF(verdict);
    }
    flow_sync(f);
    if (message) {
        tell(l, "decide", "(iOOOy#i)", (int)f->index, message, payload, verdict,
             (const char *)wire, (Py_ssize_t)n, compressed);
        if (!f->mute && buffer_length(&f->opposite->out) > SCRATCH) f->crowded = 1;
    } else {
        PyErr_WriteUnraisable(verdict);
    }
    Py_XDECREF(message);
    Py_DECREF(verdict);
    Py_DECREF(payload);
    return 0;
}

/* Add a complete fragment. 1 when that makes a message, 0 when not, -1: a violation. */
static int fragment_add(Flow *f, const ws_head *h, const uint8_t *frame)
{
    size_t n = (size_t)h->length;
    unsigned rest;
    if (h->kind == KIND_FIRST) {
        f->fragment_first = h->first;
        f->checked = 0;
    }
    if (buffer_add(&f->wire, frame, h->size + n) || buffer_reserve(&f->payload, n ? n : 1)) {
        ws_violate(&f->rules, 1009, "no memory for a message");
        return -1;
    }
    uint8_t *to = f->payload.data + f->payload.end;
    if (h->key)
        ws_mask(to, frame + h->size, n, h->key);
    else
        memcpy(to, frame + h->size, n);
    f->payload.end += n;
    if (f->fragment_first == OP_TEXT) {
        size_t length = buffer_length(&f->payload);
        if (!ws_is_utf8(f->payload.data + f->checked, length - f->checked,
                        h->kind == KIND_LAST, &rest))
            return ws_violate(&f->rules, 1007, "text that is not UTF-8");
        f->checked = length - rest;
    }
    return h->kind == KIND_LAST;
}

/* The frame h at p, whose text is not all there yet: look at it as it comes (rule 12). */
static void text_begin(Flow *f, const ws_head *h)
{
    const int is_fragment = h->kind != KIND_WHOLE && h->kind != KIND_FIRST;
    f->text_body = 0;
    if (h->kind == KIND_CONTROL) return;
    if ((is_fragment ? f->fragment_first : h->first & (15 | BIT_RSV1)) != OP_TEXT) return;
    f->text_body = h->size;
    f->text_seen = 0;
    f->text_carried = 0;
    if (h->key) memcpy(f->text_key, h->key, 4);
    if (is_fragment) {
        f->text_carried = (uint8_t)(buffer_length(&f->payload) - f->checked);
        memcpy(f->text_carry, f->payload.data + f->checked, f->text_carried);
    }
}

/* Look at what has come since. 0, or -1: it is no text. Uses the scratch buffer. */
static int text_check(Flow *f)
{
    uint8_t *to = f->source->link->plane->scratch;
    size_t end = buffer_length(&f->in);
    while (f->text_body && f->text_body + f->text_seen < end) {
        const uint8_t *from = f->in.data + f->in.start + f->text_body + f->text_seen;
        size_t n = end - f->text_body - f->text_seen;
        unsigned rest, carried = f->text_carried;
        if (n > SCRATCH / 2) n = SCRATCH / 2;
        memcpy(to, f->text_carry, carried);
        memcpy(to + carried, from, n);
        if (f->rules.masked) {
            uint8_t key[4];
            for (int i = 0; i < 4; i++) key[i] = f->text_key[(f->text_seen + (size_t)i) & 3];
            ws_mask(to + carried, from, n, key);
        }
        if (!ws_is_utf8(to, carried + n, 0, &rest))
            return ws_violate(&f->rules, 1007, "text that is not UTF-8");
        memcpy(f->text_carry, to + carried + n - rest, rest);
        f->text_carried = (uint8_t)rest;
        f->text_seen += n;
    }
    return 0;
}

/* One whole message, its frames being [wire, wire + n): as message_ask(). */
static int message_take(Flow *f, uint8_t first, const uint8_t *payload, size_t length,
                        const uint8_t *key, const uint8_t *wire, size_t n)
{
    PyObject *bytes = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)length);
    if (!bytes) {
        PyErr_Clear();
        return ws_violate(&f->rules, 1009, "no memory for a message");
    }
    if (key)
        ws_mask((uint8_t *)PyBytes_AS_STRING(bytes), payload, length, key);
    else
        memcpy(PyBytes_AS_STRING(bytes), payload, length);
    return message_ask(f, first, bytes, wire, n);
}

/* The fragmented message is complete. */
static int fragments_take(Flow *f)
{
    Buffer wire = f->wire, payload = f->payload;
    memset(&f->wire, 0, sizeof wire);
    memset(&f->payload, 0, sizeof payload);
    int verdict = message_take(f, f->fragment_first | BIT_FIN, payload.data, buffer_length(&payload),
                               NULL, wire.data, buffer_length(&wire));
    if (verdict == 1) {
        flow_sync(f);
        if (!f->mute) flow_put(f, wire.data, buffer_length(&wire));
    }
    buffer_free(&wire);
    buffer_free(&payload);
    return verdict;
}

/* What Assembler.feed of wsrelay/wire/messages.py and MessageFlow do. Returns how much of
 * data[0, n) was used; the rest is to be fed again. */
static size_t messages_take(Flow *f, const uint8_t *data, size_t n)
{
    Plane *p = f->source->link->plane;
    ws_rules *r = &f->rules;
    size_t at = 0;
    int broken = 0;
    uint8_t close[125];
    size_t close_length = 0;
    p->now_flow = f;
    p->now_data = data;
    p->now_run = p->now_at = 0;
    f->need = 2;
    f->text_body = 0;
    while (at < n && !broken && !r->closed) {
        ws_head h;
        const uint8_t *frame = data + at;
        broken = ws_read_head(r, frame, n - at, &h);
        if (broken <= 0) {
            f->need = n - at + 1;
            break;
        }
        broken = 0;
        const int is_fragment = h.kind != KIND_CONTROL && h.kind != KIND_WHOLE;
        if (is_fragment && h.size + h.length + buffer_length(&f->wire) > f->max_wire) {
            r->code = 1009;
            snprintf(r->detail, sizeof r->detail,
                     "a message in too many frames: %" PRIu64 " bytes of them",
                     h.size + h.length + (uint64_t)buffer_length(&f->wire));
            broken = -1;
            break;
        }
        if (n - at < h.size + h.length) {
            f->need = h.size + (size_t)h.length;
            text_begin(f, &h);
            break;
        }
        const size_t length = (size_t)h.length, total = h.size + length;
        int verdict = 1;
        if (h.kind == KIND_CONTROL) {
            if (h.opcode == OP_CLOSE) {
                close_length = length;
                if (h.key)
                    ws_mask(close, frame + h.size, length, h.key);
                else
                    memcpy(close, frame + h.size, length);
                verdict = flow_check_close(f, close, length) ? -1 : 1;
                if (verdict > 0 && buffer_length(&f->instead)) {
                    flow_sync(f);
                    if (!f->mute) flow_put(f, f->instead.data, buffer_length(&f->instead));
                    verdict = 0;
                }
            }
        } else if (h.kind == KIND_WHOLE) {
            verdict = message_take(f, h.first, frame + h.size, length, h.key, frame, total);
            f->messages += verdict >= 0;
        } else {
            flow_sync(f);
            verdict = fragment_add(f, &h, frame);
            f->messages += h.kind == KIND_FIRST && verdict >= 0;
            if (verdict == 1) verdict = fragments_take(f);
            if (verdict == 1) verdict = 0; /* its frames are on their way already */
        }
        if (verdict < 0) {
            broken = -1;
            break;
        }
        ws_advance(r, &h);
        f->frames++;
        at += total;
        if (verdict == 0) p->now_run = at; /* not as it came */
        p->now_at = at;
        if (!flow_is_live(f)) break;
        if (buffer_length(&p->batch) > SCRATCH) {
            /* A few bytes can hold many messages, and a hook can make each a large one. */
            flow_sync(f);
            if (!flow_is_empty(f) && !f->mute) {
                f->again = 1;
                break;
            }
        }
    }
    flow_sync(f);
    p->now_flow = NULL;
    if (r->closed && !broken)
        flow_tell_close(f, close, close_length);
    else if (broken < 0)
        flow_violate(f);
    return at;
}

/* Look at what is in f->in, as long as something comes of it. */
static void messages_again(Flow *f)
{
    Buffer in = f->in;
    memset(&f->in, 0, sizeof in);
    in.start += messages_take(f, in.data + in.start, buffer_length(&in));
    if (f->silent || f->source->fd < 0 || in.start == in.end)
        buffer_free(&in);
    else
        f->in = in; /* nobody can have put anything there meanwhile */
    if (!f->silent && text_check(f)) flow_violate(f);
}

/* ------------------------------------------------------------------------ BYTES */

static void bytes_take(Flow *f, const uint8_t *p, size_t n)
{
    if (!f->hook) {
        if (!f->mute) flow_put(f, p, n);
        return;
    }
    PyObject *chunk = PyBytes_FromStringAndSize((const char *)p, (Py_ssize_t)n);
    PyObject *verdict = chunk ? PyObject_CallOneArg(f->hook, chunk) : NULL;
    if (!verdict)
        flow_tell_failure(f);
    else if (verdict == Py_None) {
        if (!f->mute) flow_put(f, p, n);
    } else if (PyBytes_CheckExact(verdict)) {
        if (!f->mute)
            flow_put(f, (uint8_t *)PyBytes_AS_STRING(verdict), (size_t)PyBytes_GET_SIZE(verdict));
    } else {
        tell(f->source->link, "decideChunk", "(iOO)", (int)f->index, chunk, verdict);
    }
    Py_XDECREF(verdict);
    Py_XDECREF(chunk);
}

/* Move bytes through the kernel. 1: something moved; 0: nothing to read; -1: done with it. */
static int bytes_splice(Flow *f)
{
    if (f->pipe[0] < 0) {
        if (pipe2(f->pipe, O_NONBLOCK | O_CLOEXEC)) {
            f->pipe[0] = f->pipe[1] = -1;
            f->full = 0;
            return 1;
        }
        fcntl(f->pipe[0], F_SETPIPE_SZ, PIPE_SIZE);
    }
    ssize_t n = splice(f->source->fd, NULL, f->pipe[1], NULL, PIPE_SIZE,
                       SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
    if (n < 0) {
        if (errno == EAGAIN || errno == EINTR) return 0;
        if (errno == EINVAL) { /* this kind of socket does not splice */
            f->full = 0;
            return 1;
        }
        side_close(f->source, errno);
        return -1;
    }
    if (!n) {
        f->ended = 1;
        return -1;
    }
    f->bytes += (uint64_t)n;
    f->source->link->active = f->source->link->plane->now;
    f->piped += (size_t)n;
    if (n < 16384) f->full = 0; /* no longer bulk */
    flow_flush(f);
    return 1;
}

/* ------------------------------------------------------------------------ reading */

static void flow_take(Flow *f, uint8_t *p, size_t n)
{
    if (f->silent) return;
    switch (f->level) {
    case LEVEL_FRAMES:
        frames_take(f, p, n);
        break;
    case LEVEL_MESSAGES: {
        size_t used = messages_take(f, p, n);
        if (used < n && !f->silent && f->source->fd >= 0 && buffer_add(&f->in, p + used, n - used))
            side_close(f->source, ENOMEM);
        else if (!f->silent && text_check(f))
            flow_violate(f);
        break;
    }
    default:
        bytes_take(f, p, n);
    }
}

static int flow_may_read(const Flow *f)
{
    return f->source->fd >= 0 && !f->ended && !f->waiting && !f->crowded && !f->again &&
           (flow_is_empty(f) || f->mute || f->silent || f->sink->fd < 0);
}

/* One read and what follows from it. 1: there may be more; 0: there is not. */
static int flow_read(Flow *f)
{
    Plane *p = f->source->link->plane;
    uint8_t *to = p->scratch;
    size_t room = SCRATCH, before = 0;
    if (f->level == LEVEL_BYTES && f->full >= SPLICE_AFTER && !f->hook && !f->mute && !f->silent &&
        !f->source->ssl && !f->sink->ssl && f->sink->fd >= 0) {
        int k = bytes_splice(f);
        return k > 0 || (k < 0 && f->source->fd >= 0);
    }
    if (buffer_length(&f->in)) {
        /* A big message grows by what has come, not by what its head has promised. */
        size_t have = buffer_length(&f->in), want = f->need > have ? f->need - have : 1;
        if (want > have + SCRATCH) want = have + SCRATCH;
        if (want < 4096) want = 4096;
        if (buffer_reserve(&f->in, want)) {
            side_close(f->source, ENOMEM);
            return 0;
        }
        to = f->in.data + f->in.end;
        room = f->in.capacity - f->in.end;
    } else if (f->held_length) {
        before = f->held_length;
        memcpy(to, f->held, before);
        room -= before;
    }
    ssize_t n = side_recv(f->source, to + before, room);
    if (n < 0) {
        if (errno != EAGAIN && errno != EWOULDBLOCK) side_close(f->source, errno);
        return 0;
    }
    if (n == 0) {
        f->ended = 1;
        /* TLS has no half-close. */
        if (f->source->ssl || (f->source->closing && f->source->shut)) side_close(f->source, 0);
        return 0;
    }
    int is_short = (size_t)n < room && !f->source->hup && !f->source->ssl;
    f->full = (size_t)n == room ? (f->full < 255 ? f->full + 1 : 255) : 0;
    f->bytes += (uint64_t)n;
    f->source->link->active = p->now;
    if (to == p->scratch) {
        flow_take(f, to, before + (size_t)n);
    } else {
        f->in.end += (size_t)n;
        if (f->silent)
            buffer_free(&f->in);
        else if (buffer_length(&f->in) >= f->need)
            messages_again(f);
        else if (text_check(f))
            flow_violate(f);
    }
    return !is_short;
}

/* Handle the bytes that stand in f->in: what the legs had held, or what a hook held up. */
static void flow_again(Flow *f)
{
    if (f->waiting || f->crowded || !(flow_is_empty(f) || f->mute || f->silent)) return;
    f->again = 0;
    if (!buffer_length(&f->in)) return;
    if (f->level == LEVEL_MESSAGES && !f->silent) {
        messages_again(f);
        return;
    }
    Buffer in = f->in;
    memset(&f->in, 0, sizeof in);
    flow_take(f, in.data + in.start, buffer_length(&in));
    buffer_free(&in);
}

/* Read until there is nothing more, the sink is full, or others must have their turn. */
static void flow_pump(Flow *f)
{
    if (f->again) flow_again(f);
    for (int turn = 0; turn < TURNS; turn++) {
        if (!flow_may_read(f) || !flow_read(f)) {
            if (f->source->fd >= 0) flow_tell_end(f);
            return;
        }
    }
    flow_later(f);
}

/* The sink takes bytes again. */
static void flow_writable(Flow *f)
{
    if (flow_is_empty(f) || !flow_flush(f)) return;
    flow_drained(f);
    flow_pump(f);
}

static void reap(Plane *p)
{
    while (p->dead) {
        Link *l = p->dead;
        p->dead = l->next_dead;
        for (int i = 0; i < 2; i++) {
            if (l->flow[i].is_later) {
                Flow **f = &p->later;
                while (*f != &l->flow[i]) f = &(*f)->next_later;
                *f = l->flow[i].next_later;
                l->flow[i].is_later = 0;
            }
            Py_CLEAR(l->flow[i].hook);
            Py_CLEAR(l->flow[i].inflate);
        }
        Py_CLEAR(l->handler);
        p->links--;
        Py_DECREF(l);
    }
}

static void side_ready(Side *s, uint32_t events)
{
    Flow *from = &s->link->flow[s->index], *to = &s->link->flow[1 - s->index];
    const uint32_t end = EPOLLRDHUP | EPOLLHUP | EPOLLERR;
    if (events & end) s->hup = 1;
    if (events & EPOLLOUT) flow_writable(to);
    if (s->fd >= 0 && (events & (EPOLLIN | end) || (s->read_blocked && events & EPOLLOUT)))
        flow_pump(from);
    if (s->fd >= 0 && events & EPOLLERR) {
        int error = 0;
        socklen_t size = sizeof error;
        getsockopt(s->fd, SOL_SOCKET, SO_ERROR, &error, &size);
        side_close(s, error ? error : ECONNRESET);
    }
}

PyDoc_STRVAR(process_doc, "process()\n--\n\nServe a bounded batch of what is ready.");
static PyObject *plane_process(Plane *p, PyObject *unused)
{
    (void)unused;
    struct epoll_event events[BATCH];
    if (p->running) Py_RETURN_NONE;
    int n = epoll_wait(p->epoll, events, BATCH, 0);
    p->now = monotonic();
    p->running = 1;
    for (int i = 0; i < n; i++) {
        Side *s = events[i].data.ptr;
        if (!s) {
            eventfd_t value;
            eventfd_read(p->wake, &value);
        } else if (s->fd >= 0) {
            side_ready(s, events[i].events);
        }
    }
    Flow *f = p->later;
    p->later = NULL;
    while (f) {
        Flow *next = f->next_later;
        f->is_later = 0;
        flow_pump(f);
        f = next;
    }
    p->running = 0;
    reap(p);
    if (p->later) eventfd_write(p->wake, 1);
    Py_RETURN_NONE;
}

/* Whoever calls a method from outside a batch frees what it closed. */
static void settle(Plane *p)
{
    if (!p->running) reap(p);
}

/* ------------------------------------------------------------------------ Link */

static Flow *link_flow(Link *l, int index)
{
    if (index != 0 && index != 1) {
        PyErr_SetString(PyExc_IndexError, "a direction is 0 or 1");
        return NULL;
    }
    if (l->side[0].link == NULL) {
        PyErr_SetString(PyExc_ValueError, "not a link of a plane");
        return NULL;
    }
    return &l->flow[index];
}

PyDoc_STRVAR(start_doc, "start(toBackend, toClient)\n--\n\nBegin, with the bytes that were held.");
static PyObject *link_start(Link *l, PyObject *args)
{
    Py_buffer early[2];
    if (!PyArg_ParseTuple(args, "y*y*", &early[0], &early[1])) return NULL;
    int failed = 0;
    for (int i = 0; i < 2; i++) {
        Flow *f = &l->flow[i];
        if (early[i].len) {
            failed |= buffer_add(&f->in, early[i].buf, (size_t)early[i].len);
            f->bytes += (uint64_t)early[i].len;
            f->again = 1;
            flow_later(f);
        } else if (l->side[i].ssl) {
            flow_later(f); /* OpenSSL may hold bytes that no event will announce */
        }
        struct epoll_event e = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
                                .data.ptr = &l->side[i]};
        failed |= epoll_ctl(l->plane->epoll, EPOLL_CTL_ADD, l->side[i].fd, &e);
    }
    PyBuffer_Release(&early[0]);
    PyBuffer_Release(&early[1]);
    if (failed) return PyErr_SetFromErrno(PyExc_OSError);
    Py_RETURN_NONE;
}

PyDoc_STRVAR(write_doc, "write(direction, data)\n--\n\nForward these bytes, unless mute.");
static PyObject *link_write(Link *l, PyObject *args)
{
    int index;
    Py_buffer data;
    if (!PyArg_ParseTuple(args, "iy*", &index, &data)) return NULL;
    Flow *f = link_flow(l, index);
    if (f && !f->mute) {
        flow_sync(f);
        flow_put(f, data.buf, (size_t)data.len);
    }
    PyBuffer_Release(&data);
    if (!f) return NULL;
    settle(l->plane);
    Py_RETURN_NONE;
}

/* FRAMES: write at once what need not wait for a border. */
static void frames_own(Flow *f)
{
    if (f->left || f->mute) return;
    flow_put(f, f->own.data + f->own.start, buffer_length(&f->own));
    buffer_free(&f->own);
    if (f->rules.inside) return;
    flow_put(f, f->own_data.data + f->own_data.start, buffer_length(&f->own_data));
    buffer_free(&f->own_data);
}

PyDoc_STRVAR(inject_doc, "inject(direction, frame, isData)\n--\n\n"
             "Put a frame between two frames, or between two messages.");
static PyObject *link_inject(Link *l, PyObject *args)
{
    int index, is_data, failed = 0;
    Py_buffer data;
    if (!PyArg_ParseTuple(args, "iy*p", &index, &data, &is_data)) return NULL;
    Flow *f = link_flow(l, index);
    if (f && !f->mute && f->sink->fd >= 0) {
        if (f->level == LEVEL_FRAMES) {
            failed = buffer_add(is_data ? &f->own_data : &f->own, data.buf, (size_t)data.len);
            frames_own(f);
        } else {
            flow_sync(f);
            flow_put(f, data.buf, (size_t)data.len);
        }
    }
    PyBuffer_Release(&data);
    if (!f) return NULL;
    if (failed) return PyErr_NoMemory();
    settle(l->plane);
    Py_RETURN_NONE;
}

PyDoc_STRVAR(mute_doc, "mute(direction, last)\n--\n\n"
             "Forward nothing more after last; whether last can go out.");
static PyObject *link_mute(Link *l, PyObject *args)
{
    int index, told = 1, failed = 0;
    Py_buffer last;
    if (!PyArg_ParseTuple(args, "iy*", &index, &last)) return NULL;
    Flow *f = link_flow(l, index);
    if (f) {
        if (f->mute || f->muting) {
            told = 0;
        } else if (f->level == LEVEL_FRAMES && f->left) {
            if (f->silent || f->ended || f->source->fd < 0) {
                f->mute = 1;
                told = 0;
            } else if (last.len) {
                f->muting = 1;
                failed = buffer_add(&f->last, last.buf, (size_t)last.len);
            } else {
                f->mute = 1;
            }
        } else {
            if (f->level == LEVEL_FRAMES) frames_own(f);
            flow_sync(f);
            flow_put(f, last.buf, (size_t)last.len);
            f->mute = 1;
        }
        if (f->level == LEVEL_BYTES) f->silent = 1;
        if (f->mute && (f->waiting || f->crowded)) {
            /* What is still to be answered will change nothing. */
            f->waiting = f->crowded = 0;
            f->again = 1;
        }
        flow_later(f);
    }
    PyBuffer_Release(&last);
    if (!f) return NULL;
    if (failed) return PyErr_NoMemory();
    settle(l->plane);
    return PyBool_FromLong(told);
}

PyDoc_STRVAR(closeWith_doc, "closeWith(direction, last)\n--\n\n"
             "Put last in place of the sender's Close frame.");
static PyObject *link_closeWith(Link *l, PyObject *args)
{
    int index, failed = 0;
    Py_buffer last;
    if (!PyArg_ParseTuple(args, "iy*", &index, &last)) return NULL;
    Flow *f = link_flow(l, index);
    if (f && !f->mute) failed = buffer_add(&f->instead, last.buf, (size_t)last.len);
    PyBuffer_Release(&last);
    if (!f) return NULL;
    if (failed) return PyErr_NoMemory();
    return PyBool_FromLong(!f->mute);
}

/* A method with a direction and nothing else. */
#define DIRECTED(name, text, body)                                                  \
    PyDoc_STRVAR(name##_doc, #name "(direction)\n--\n\n" text);                  \
    static PyObject *link_##name(Link *l, PyObject *index)                          \
    {                                                                               \
        long i = PyLong_AsLong(index);                                              \
        if (i == -1 && PyErr_Occurred()) return NULL;                               \
        Flow *f = link_flow(l, (int)i);                                             \
        if (!f) return NULL;                                                        \
        body                                                                        \
    }

DIRECTED(finish, "Send FIN after all that was forwarded, and nothing more.", {
    flow_sync(f);
    f->finishing = f->mute = 1;
    flow_later(f);
    if (flow_is_empty(f)) side_finish(f->sink);
    settle(l->plane);
    Py_RETURN_NONE;
})
DIRECTED(hold, "Read nothing until release(): a hook's answer is still to come.", {
    f->waiting = 1;
    Py_RETURN_NONE;
})
DIRECTED(release, "The answer came.", {
    f->waiting = 0;
    f->again = 1;
    flow_later(f);
    Py_RETURN_NONE;
})
DIRECTED(silence, "Read on, look at nothing, forward nothing.", {
    f->silent = 1;
    flow_later(f);
    Py_RETURN_NONE;
})
DIRECTED(retire, "Forget the hook: bytes are spliced from now on.", {
    Py_CLEAR(f->hook);
    Py_RETURN_NONE;
})
DIRECTED(outOfStep, "The receiver's inflater has missed something.", {
    f->in_step = 0;
    Py_RETURN_NONE;
})
DIRECTED(mayForward, "Whether compressed frames may go on as they came.", {
    return PyBool_FromLong(f->same_coding && (f->in_step || f->afresh));
})
DIRECTED(isMute, "Whether nothing of the sender's is forwarded.", {
    return PyBool_FromLong(f->mute || f->silent || f->source->fd < 0);
})
DIRECTED(counts, "Bytes, frames and messages so far.", {
    return Py_BuildValue("(KKK)", (unsigned long long)f->bytes, (unsigned long long)f->frames,
                         (unsigned long long)f->messages);
})

PyDoc_STRVAR(close_doc, "close()\n--\n\n"
             "Close both sides after all that was forwarded and when each has ended.");
static PyObject *link_close(Link *l, PyObject *unused)
{
    (void)unused;
    for (int i = 0; i < 2; i++) {
        Flow *f = &l->flow[i];
        flow_sync(f);
        f->mute = f->silent = 1;
        f->waiting = f->crowded = 0;
        buffer_free(&f->in);
        l->side[i].closing = 1;
        flow_later(f);
    }
    for (int i = 0; i < 2; i++)
        if (flow_is_empty(&l->flow[1 - i])) side_finish(&l->side[i]);
    settle(l->plane);
    Py_RETURN_NONE;
}

PyDoc_STRVAR(abort_doc, "abort()\n--\n\nClose both sides at once.");
static PyObject *link_abort(Link *l, PyObject *unused)
{
    (void)unused;
    for (int i = 0; i < 2; i++) side_close(&l->side[i], ECONNABORTED);
    settle(l->plane);
    Py_RETURN_NONE;
}

PyDoc_STRVAR(idle_doc, "idleFor()\n--\n\nSeconds since a byte was read from either side.");
static PyObject *link_idle(Link *l, PyObject *unused)
{
    (void)unused;
    return PyFloat_FromDouble(monotonic() - l->active);
}

static void link_dealloc(Link *l)
{
    for (int i = 0; i < 2; i++) {
        Flow *f = &l->flow[i];
        if (l->side[i].fd >= 0) close(l->side[i].fd); /* was never started */
        if (f->pipe[0] >= 0) {
            close(f->pipe[0]);
            close(f->pipe[1]);
        }
        buffer_free(&f->out);
        buffer_free(&f->in);
        buffer_free(&f->wire);
        buffer_free(&f->payload);
        buffer_free(&f->own);
        buffer_free(&f->own_data);
        buffer_free(&f->last);
        buffer_free(&f->instead);
        Py_XDECREF(f->hook);
        Py_XDECREF(f->inflate);
    }
    Py_XDECREF(l->handler);
    Py_XDECREF(l->plane);
    PyTypeObject *type = Py_TYPE(l);
    type->tp_free(l);
    Py_DECREF(type);
}

static PyMethodDef link_methods[] = {
    {"start", (PyCFunction)link_start, METH_VARARGS, start_doc},
    {"write", (PyCFunction)link_write, METH_VARARGS, write_doc},
    {"inject", (PyCFunction)link_inject, METH_VARARGS, inject_doc},
    {"mute", (PyCFunction)link_mute, METH_VARARGS, mute_doc},
    {"closeWith", (PyCFunction)link_closeWith, METH_VARARGS, closeWith_doc},
    {"finish", (PyCFunction)link_finish, METH_O, finish_doc},
    {"hold", (PyCFunction)link_hold, METH_O, hold_doc},
    {"release", (PyCFunction)link_release, METH_O, release_doc},
    {"silence", (PyCFunction)link_silence, METH_O, silence_doc},
    {"retire", (PyCFunction)link_retire, METH_O, retire_doc},
    {"outOfStep", (PyCFunction)link_outOfStep, METH_O, outOfStep_doc},
    {"mayForward", (PyCFunction)link_mayForward, METH_O, mayForward_doc},
    {"isMute", (PyCFunction)link_isMute, METH_O, isMute_doc},
    {"counts", (PyCFunction)link_counts, METH_O, counts_doc},
    {"close", (PyCFunction)link_close, METH_NOARGS, close_doc},
    {"abort", (PyCFunction)link_abort, METH_NOARGS, abort_doc},
    {"idleFor", (PyCFunction)link_idle, METH_NOARGS, idle_doc},
    {NULL, NULL, 0, NULL},
};
static PyType_Slot link_slots[] = {
    {Py_tp_dealloc, link_dealloc},
    {Py_tp_methods, link_methods},
    {Py_tp_doc, "Two joined sockets; made by Plane.link()."},
    {0, NULL},
};
static PyType_Spec link_spec = {
    .name = "wsrelay.plane._native.Link",
    .basicsize = sizeof(Link),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = link_slots,
};

/* ------------------------------------------------------------------------ Plane */

/* A lane: (level, hook, maxFrame, maxMessage, rsv, inflate, sameCoding, afresh, deflates);
 * a limit of -1 is none. */
static int flow_configure(Flow *f, PyObject *lane)
{
    int level, rsv, same, afresh, deflates;
    long long max_frame, max_message;
    PyObject *hook, *inflate;
    if (!PyArg_ParseTuple(lane, "iOLLiOppp", &level, &hook, &max_frame, &max_message, &rsv, &inflate,
                          &same, &afresh, &deflates))
        return -1;
    f->level = (uint8_t)level;
    f->rules.masked = f->index == 0;
    f->rules.rsv = (uint8_t)rsv;
    f->rules.max_frame = max_frame < 0 ? NO_LIMIT : (uint64_t)max_frame;
    f->rules.max_message = max_message < 0 ? NO_LIMIT : (uint64_t)max_message;
    f->max_wire = max_message < 0 ? NO_LIMIT : 2 * (uint64_t)max_message + HEADS;
    f->in_step = 1;
    f->same_coding = (uint8_t)same;
    f->afresh = (uint8_t)afresh;
    f->deflates = (uint8_t)deflates;
    f->hook = hook == Py_None ? NULL : Py_NewRef(hook);
    f->inflate = inflate == Py_None ? NULL : Py_NewRef(inflate);
    return 0;
}

typedef struct {
    PyTypeObject *link_type;
} State;

PyDoc_STRVAR(link_doc, "link(handler, client, backend, clientSSL, backendSSL, toBackend, toClient)\n"
             "--\n\nJoin two descriptors, which belong to the link from now on; an SSL is the "
             "address of an SSL object or 0.");
static PyObject *plane_link(Plane *p, PyObject *args)
{
    PyObject *handler, *lane[2];
    int fd[2];
    unsigned long long ssl[2];
    if (!PyArg_ParseTuple(args, "OiiKKO!O!", &handler, &fd[0], &fd[1], &ssl[0], &ssl[1],
                          &PyTuple_Type, &lane[0], &PyTuple_Type, &lane[1]))
        return NULL;
    if ((ssl[0] || ssl[1]) && !p->ssl_read) {
        PyErr_SetString(PyExc_ValueError, "useTLS() was not called");
        return NULL;
    }
    State *state = PyType_GetModuleState(Py_TYPE(p));
    Link *l = (Link *)state->link_type->tp_alloc(state->link_type, 0);
    if (!l) return NULL;
    for (int i = 0; i < 2; i++) {
        l->side[i] = (Side){.link = l, .ssl = (void *)(uintptr_t)ssl[i], .fd = -1, .index = (uint8_t)i};
        l->flow[i].source = &l->side[i];
        l->flow[i].sink = &l->side[1 - i];
        l->flow[i].opposite = &l->flow[1 - i];
        l->flow[i].index = (uint8_t)i;
        l->flow[i].pipe[0] = l->flow[i].pipe[1] = -1;
    }
    l->plane = (Plane *)Py_NewRef(p);
    l->handler = Py_NewRef(handler);
    l->active = monotonic();
    if (flow_configure(&l->flow[0], lane[0]) || flow_configure(&l->flow[1], lane[1])) {
        Py_DECREF(l);
        return NULL;
    }
    l->side[0].fd = fd[0];
    l->side[1].fd = fd[1];
    p->links++;
    return Py_NewRef(l); /* one reference is the plane's, until reap() */
}

PyDoc_STRVAR(tls_doc, "useTLS(read, write, getError, shutdown, clearErrors)\n--\n\n"
             "The addresses of the functions of the OpenSSL that made the SSL objects.");
static PyObject *plane_use_tls(Plane *p, PyObject *args)
{
    unsigned long long a[5];
    if (!PyArg_ParseTuple(args, "KKKKK", &a[0], &a[1], &a[2], &a[3], &a[4])) return NULL;
    p->ssl_read = (int (*)(void *, void *, int))(uintptr_t)a[0];
    p->ssl_write = (int (*)(void *, const void *, int))(uintptr_t)a[1];
    p->ssl_get_error = (int (*)(const void *, int))(uintptr_t)a[2];
    p->ssl_shutdown = (int (*)(void *))(uintptr_t)a[3];
    p->err_clear = (void (*)(void))(uintptr_t)a[4];
    Py_RETURN_NONE;
}

PyDoc_STRVAR(fileno_doc, "fileno()\n--\n\nThe descriptor for the reactor to watch.");
static PyObject *plane_fileno(Plane *p, PyObject *unused)
{
    (void)unused;
    return PyLong_FromLong(p->epoll);
}

static Py_ssize_t slot_offset(PyObject *type, const char *name)
{
    PyObject *member = PyObject_GetAttrString(type, name);
    if (!member) return -1;
    Py_ssize_t offset = -1;
    if (Py_TYPE(member) == &PyMemberDescr_Type)
        offset = ((PyMemberDescrObject *)member)->d_member->offset;
    else
        PyErr_Format(PyExc_TypeError, "%s is not a slot", name);
    Py_DECREF(member);
    return offset;
}

static PyObject *plane_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    PyObject *message_type;
    if (kwargs && PyDict_GET_SIZE(kwargs)) {
        PyErr_SetString(PyExc_TypeError, "Plane() takes no keyword arguments");
        return NULL;
    }
    if (!PyArg_ParseTuple(args, "O!", &PyType_Type, &message_type)) return NULL;
    Plane *p = (Plane *)type->tp_alloc(type, 0);
    if (!p) return NULL;
    p->epoll = p->wake = -1;
    p->message_type = Py_NewRef(message_type);
    p->data_offset = slot_offset(message_type, "data");
    p->is_text_offset = slot_offset(message_type, "isText");
    if (p->data_offset < 0 || p->is_text_offset < 0) goto failed;
    p->scratch = malloc(SCRATCH);
    if (!p->scratch) {
        PyErr_NoMemory();
        goto failed;
    }
    p->epoll = epoll_create1(EPOLL_CLOEXEC);
    p->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = NULL};
    if (p->epoll < 0 || p->wake < 0 || epoll_ctl(p->epoll, EPOLL_CTL_ADD, p->wake, &e)) {
        PyErr_SetFromErrno(PyExc_OSError);
        goto failed;
    }
    return (PyObject *)p;
failed:
    Py_DECREF(p);
    return NULL;
}

static void plane_dealloc(Plane *p)
{
    if (p->epoll >= 0) close(p->epoll);
    if (p->wake >= 0) close(p->wake);
    free(p->scratch);
    buffer_free(&p->batch);
    Py_XDECREF(p->message_type);
    PyTypeObject *type = Py_TYPE(p);
    type->tp_free(p);
    Py_DECREF(type);
}

static PyMethodDef plane_methods[] = {
    {"fileno", (PyCFunction)plane_fileno, METH_NOARGS, fileno_doc},
    {"process", (PyCFunction)plane_process, METH_NOARGS, process_doc},
    {"link", (PyCFunction)plane_link, METH_VARARGS, link_doc},
    {"useTLS", (PyCFunction)plane_use_tls, METH_VARARGS, tls_doc},
    {NULL, NULL, 0, NULL},
};
static PyMemberDef plane_members[] = {
    {"links", T_PYSSIZET, offsetof(Plane, links), READONLY, "how many links are open"},
    {NULL, 0, 0, 0, NULL},
};
static PyType_Slot plane_slots[] = {
    {Py_tp_new, plane_new},
    {Py_tp_dealloc, plane_dealloc},
    {Py_tp_methods, plane_methods},
    {Py_tp_members, plane_members},
    {Py_tp_doc, "Plane(messageType)\n--\n\nOne epoll instance and the links in it."},
    {0, NULL},
};
static PyType_Spec plane_spec = {
    .name = "wsrelay.plane._native.Plane",
    .basicsize = sizeof(Plane),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = plane_slots,
};

/* ------------------------------------------------------------------------ module */

static int module_exec(PyObject *module)
{
    State *state = PyModule_GetState(module);
    state->link_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &link_spec, NULL);
    if (!state->link_type || PyModule_AddType(module, state->link_type)) return -1;
    PyObject *plane = PyType_FromModuleAndSpec(module, &plane_spec, NULL);
    if (!plane) return -1;
    int failed = PyModule_AddType(module, (PyTypeObject *)plane);
    Py_DECREF(plane);
    return failed;
}

static void module_free(void *module)
{
    State *state = PyModule_GetState((PyObject *)module);
    if (state) Py_CLEAR(state->link_type);
}

static PyModuleDef_Slot module_slots[] = {
    {Py_mod_exec, module_exec},
    {0, NULL},
};
static struct PyModuleDef module = {
    PyModuleDef_HEAD_INIT,
    .m_name = "_native",
    .m_doc = "The native engine's hands; see wsrelay.plane.native.",
    .m_size = sizeof(State),
    .m_slots = module_slots,
    .m_free = module_free,
};

PyMODINIT_FUNC PyInit__native(void) { return PyModuleDef_Init(&module); }
