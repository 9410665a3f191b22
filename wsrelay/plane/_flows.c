/* One direction of a link, whatever its level: writing, its end, reading.
 *
 * A flow reads only while its sink has taken all that went before, so what waits in memory is
 * bounded by one read. It stops in four ways: its sink is full (flow_writable() goes on), a hook's
 * answer is awaited (waiting), the sender does not read what it is answered (crowded), or others
 * must have their turn (flow_later()). What the bytes mean is the level's business.
 */
#include "_native.h"

#include <sys/eventfd.h>

void flow_later(Flow *f)
{
    Plane *p = f->source->link->plane;
    if (f->is_later || f->source->link->is_dead) return;
    f->is_later = 1;
    f->next_later = NULL;
    if (p->later) {
        p->latest->next_later = f;
    } else {
        p->later = f;
        if (!p->running) eventfd_write(p->wake, 1);
    }
    p->latest = f;
}

void flow_put(Flow *f, const uint8_t *p, size_t n)
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

int flow_flush(Flow *f)
{
    if (!pipe_flush(f)) return 0;
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

static void flow_tell_end(Flow *f)
{
    if (f->end_told || !f->ended || f->waiting) return;
    f->end_told = 1;
    link_tell(f->source->link, "ended", "(i)", (int)f->index);
}

Own *flow_own(Flow *f)
{
    if (!f->own) f->own = calloc(1, sizeof *f->own);
    return f->own;
}

void flow_drop(Flow *f)
{
    buffer_free(&f->out);
    if (f->own) {
        buffer_free(&f->own->frames);
        buffer_free(&f->own->data);
        buffer_free(&f->own->last);
        buffer_free(&f->own->instead);
    }
    pipe_drop(f);
}

void flow_forget(Flow *f)
{
    buffer_free(&f->in);
    if (f->assembly) {
        buffer_free(&f->assembly->wire);
        buffer_free(&f->assembly->payload);
    }
}

void flow_violate(Flow *f)
{
    f->silent = 1;
    flow_forget(f);
    const char *detail = f->rules.detail; /* which may end inside a character */
    PyObject *words = PyUnicode_DecodeUTF8(detail, (Py_ssize_t)strlen(detail), "replace");
    link_tell(f->source->link, "violated", "(iiN)", (int)f->index, (int)f->rules.code, words);
}

int flow_check_close(Flow *f, const uint8_t *payload, size_t n)
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

void flow_tell_close(Flow *f, const uint8_t *payload, size_t n)
{
    f->mute = f->silent = 1;
    if (n < 2)
        link_tell(f->source->link, "closeReceived", "(iOs)", (int)f->index, Py_None, "");
    else
        link_tell(f->source->link, "closeReceived", "(iis#)", (int)f->index,
             (int)(payload[0] << 8 | payload[1]), (const char *)payload + 2,
             (Py_ssize_t)(n - 2));
}

void flow_tell_failure(Flow *f)
{
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    PyErr_NormalizeException(&type, &value, &traceback);
    if (traceback) PyException_SetTraceback(value, traceback);
    flow_sync(f); /* may call Python, which must not find an exception set */
    link_tell(f->source->link, "failed", "(iO)", (int)f->index, value ? value : Py_None);
    Py_XDECREF(type);
    Py_XDECREF(value);
    Py_XDECREF(traceback);
}

/* Handle what was read: p[0, n), with what was held before it. */
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
    if (flow_may_splice(f)) {
        if (f->level == LEVEL_BYTES) return bytes_splice(f);
        if (f->level == LEVEL_FRAMES) return frames_splice(f);
    }
    if (f->level == LEVEL_MESSAGES && buffer_length(&f->in)) {
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
    } else if (buffer_length(&f->in)) {
        /* FRAMES: less than a head or a control frame, see frames_take(). */
        before = buffer_length(&f->in);
        memcpy(to, f->in.data + f->in.start, before);
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
    p->budget -= n;
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

/* Whether nothing but its turn keeps a flow from handling what stands in f->in. */
static int flow_may_take(const Flow *f)
{
    return !f->waiting && !f->crowded && (flow_is_empty(f) || f->mute || f->silent);
}

/* Handle the bytes that stand in f->in: what the legs had held, or what a hook held up. */
static void flow_again(Flow *f)
{
    if (!flow_may_take(f)) return;
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

void flow_pump(Flow *f)
{
    Plane *p = f->source->link->plane;
    p->turn_end = p->budget - TURN;
    for (int turn = 0; turn < TURNS && p->budget > 0 && p->budget > p->turn_end; turn++) {
        if (f->again) flow_again(f);
        if (!flow_may_read(f) || !flow_read(f)) {
            if (f->again && flow_may_take(f)) break; /* its turn is over */
            if (f->source->fd >= 0) flow_tell_end(f);
            return;
        }
    }
    flow_later(f);
}

void flow_writable(Flow *f)
{
    if (flow_is_empty(f) || !flow_flush(f)) return;
    flow_drained(f);
    flow_pump(f);
}
