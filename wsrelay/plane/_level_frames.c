/* The level FRAMES: heads of frames are read, payload goes on as it came.
 *
 * A border is a place between two frames, or between two messages: only there may the relay's own
 * frames stand. An incomplete head (up to 13 bytes) or control frame (up to 130) waits in f->in
 * until the rest comes, so nothing goes out of which it is not known what it is. No hook is asked here.
 * Large frames that come in bulk are spliced: of their bytes only the heads are read.
 */
#include "_native.h"

#define LARGE (16 * 1024) /* what is saved by one such frame is worth the two calls that it takes */

/* Put what has waited in b, and empty it. */
static void flow_release(Flow *f, Buffer *b)
{
    flow_put(f, b->data, buffer_length(b));
    buffer_free(b);
}

/* Forward p[0, n) with the relay's own frames at the last border in it; borders are offsets
 * or -1. Any flow_put() may close the side and with it empty own, which stays. */
static void frames_forward(Flow *f, const uint8_t *p, size_t n, ssize_t frame_border,
                           ssize_t message_border)
{
    if (f->mute) return;
    Own *own = f->own;
    size_t frames = own ? buffer_length(&own->frames) : 0, data = own ? buffer_length(&own->data) : 0;
    ssize_t border = data && message_border >= 0 ? message_border : frame_border;
    if ((!frames && !data && !f->muting) || border < 0) {
        flow_put(f, p, n);
        return;
    }
    flow_put(f, p, (size_t)border);
    flow_release(f, &own->frames);
    if (message_border >= 0) flow_release(f, &own->data);
    if (f->muting) {
        f->muting = 0;
        f->mute = 1;
        flow_release(f, &own->last);
        buffer_free(&own->data);
    } else {
        flow_put(f, p + border, n - (size_t)border);
    }
}

/* The sender's Close was read: if another stands ready, it goes out in its place. */
static void frames_replace_close(Flow *f)
{
    Own *own = f->own;
    if (!own || !buffer_length(&own->instead) || f->muting) return;
    f->muting = 1;
    own->last = own->instead;
    memset(&own->instead, 0, sizeof own->instead);
}

/* What frames_read() has found in the bytes that it was given. */
typedef struct {
    size_t at;              /* behind the last frame: past the end if its payload is to come */
    ssize_t frame, message; /* the last border of frames, of messages; or -1 */
    size_t close_at, close_length; /* of a Close */
    uint8_t close[125];     /* its payload */
} Found;

static void found_border(Found *o, const ws_rules *r)
{
    o->frame = (ssize_t)o->at;
    if (!r->inside) o->message = o->frame;
}

static void frames_count(Flow *f, const ws_head *h)
{
    if (h->kind == KIND_WHOLE || h->kind == KIND_FIRST) f->messages++;
    ws_advance(&f->rules, h);
    f->frames++;
}

/* Read heads in p[o->at, n), up to a Close. 0, or -1: a violation. */
static int frames_read(Flow *f, const uint8_t *p, size_t n, Found *o)
{
    ws_rules *r = &f->rules;
    const double now = f->source->link->plane->now;
    while (o->at < n && !r->closed) {
        ws_head h;
        const uint8_t *frame = p + o->at;
        found_border(o, r);
        int k = ws_read_head(r, frame, n - o->at, &h);
        if (k <= 0) return k;
        if (h.kind == KIND_CONTROL) {
            if (n - o->at < h.size + h.length) return 0;
            if (h.opcode != OP_CLOSE && ws_spend(r, h.opcode, now)) return -1;
        }
        if (h.opcode == OP_CLOSE) {
            o->close_at = o->at;
            o->close_length = (size_t)h.length;
            ws_copy(o->close, frame + h.size, o->close_length, h.key);
            if (flow_check_close(f, o->close, o->close_length)) return -1;
        }
        frames_count(f, &h);
        o->at += h.size + (size_t)h.length;
    }
    return 0;
}

void frames_take(Flow *f, const uint8_t *p, size_t n)
{
    ws_rules *r = &f->rules;
    Found o;
    o.at = (size_t)f->left;
    o.frame = o.message = -1;
    if (buffer_length(&f->in)) buffer_free(&f->in);
    const int broken = frames_read(f, p, n, &o);
    f->left = o.at > n ? o.at - n : 0;
    if (!f->left) found_border(&o, r);
    if (r->closed) {
        /* Nothing goes behind a Close: the last border is before it. */
        o.frame = (ssize_t)o.close_at;
        o.message = r->inside ? -1 : o.frame;
        frames_replace_close(f);
    } else if (!broken && o.at < n && buffer_add(&f->in, p + o.at, n - o.at)) {
        side_close(f->source, ENOMEM);
    }
    frames_forward(f, p, o.at < n ? o.at : n, o.frame, o.message);
    if (r->closed) flow_tell_close(f, o.close, o.close_length);
    if (broken) flow_violate(f);
}

/* What begins with head[0, k) and is the last n bytes in the pipe goes the ordinary way. */
static int frames_rest(Flow *f, const uint8_t *head, size_t k, size_t n)
{
    Buffer *in = &f->in;
    if (buffer_reserve(in, n)) return -1;
    memcpy(in->data + in->end, head, k);
    if (look_read(f->source->link->plane, in->data + in->end + k, n - k)) return -1;
    in->end += n;
    f->again = 1;
    f->piped -= n;
    f->spoilt = 1;
    return 0;
}

/* Look at the heads among the n bytes in the pipe, as long as large frames of data follow each
 * other. 0, or -1: it cannot be done. */
static int frames_look(Flow *f, size_t n)
{
    Plane *p = f->source->link->plane;
    uint64_t at = f->left; /* of the next head */
    size_t seen = (size_t)at;
    if (look_begin(f) || look_skip(p, seen)) return -1;
    f->left = 0;
    while (at < n) {
        uint8_t head[14];
        ws_head h;
        size_t k = n - seen < sizeof head ? n - seen : sizeof head;
        if (look_read(p, head, k)) return -1;
        int found = ws_read_head(&f->rules, head, k, &h);
        if (found <= 0 || h.length < LARGE) {
            if (found) f->full = 0;
            return frames_rest(f, head, k, n - seen);
        }
        frames_count(f, &h);
        at += h.size + h.length;
        const size_t next = at < n ? (size_t)at : n;
        if (look_skip(p, next - seen - k)) return -1;
        seen = next;
    }
    f->left = at - n;
    return 0;
}

int frames_splice(Flow *f)
{
    const Own *own = f->own;
    const int own_wait = own && (buffer_length(&own->frames) || buffer_length(&own->data));
    if (f->muting || own_wait || look_prepare(f->source->link->plane)) {
        f->full = 0; /* the next border must be seen */
        return 1;
    }
    ssize_t n = pipe_fill(f, PIPE_SIZE);
    if (n <= 0) return n != 0;
    if ((uint64_t)n <= f->left)
        f->left -= (uint64_t)n;
    else if (frames_look(f, (size_t)n))
        look_fail(f);
    pipe_flush(f);
    return 1;
}

int frames_inject(Flow *f, const uint8_t *p, size_t n, int is_data)
{
    if (!f->left && !(is_data && f->rules.inside)) {
        frames_own(f);
        flow_put(f, p, n);
        return 0;
    }
    Own *own = flow_own(f);
    return own ? buffer_add(is_data ? &own->data : &own->frames, p, n) : -1;
}

void frames_own(Flow *f)
{
    if (f->left || f->mute || !f->own) return;
    flow_release(f, &f->own->frames);
    if (!f->rules.inside) flow_release(f, &f->own->data);
}
