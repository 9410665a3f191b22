/* The level MESSAGES: whole messages are put together and shown to the hook.
 *
 * Messages that go on as they came are a run of the very bytes that were read; frames that are
 * new go into the plane's batch behind what was before them, so that all that one read brings
 * leaves in one send. Whoever writes to the flow in between calls flow_sync() first. An incomplete
 * frame waits in f->in; text in it is checked as it comes (RFC 6455 section 8.1). What becomes of
 * a message is decided in _hooks.c.
 */
#include "_native.h"

/* Whether the flow still wants its messages looked at, after a call into Python. */
static int flow_is_live(const Flow *f)
{
    return f->source->fd >= 0 && !f->silent && !f->waiting && !f->crowded;
}

void flow_sync(Flow *f)
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

void batch_run(Flow *f)
{
    Plane *p = f->source->link->plane;
    if (buffer_add(&p->batch, p->now_data + p->now_run, p->now_at - p->now_run))
        flow_fail(f, ENOMEM);
    p->now_run = p->now_at;
}

void batch_frame(Flow *f, uint8_t first, const uint8_t *payload, size_t n)
{
    Plane *p = f->source->link->plane;
    Buffer *batch = &p->batch;
    uint8_t key[4];
    if (buffer_reserve(batch, n + 14)) {
        flow_fail(f, ENOMEM);
        return;
    }
    const uint8_t *mask = f->index == 0 ? key : NULL;
    if (mask) plane_key(p, key);
    uint8_t *o = batch->data + batch->end;
    unsigned size = ws_write_head(o, first, n, mask);
    ws_copy(o + size, payload, n, mask);
    batch->end += size + n;
}

/* Send the batch when it is big. 1: the sink did not take it all, the rest must wait. */
static int batch_is_enough(Flow *f)
{
    /* A few bytes can hold many messages, and a hook or an inflater can make each a large one;
     * what was decided in Python is in out already. */
    if (buffer_length(&f->source->link->plane->batch) <= SCRATCH && buffer_length(&f->out) <= SCRATCH)
        return 0;
    flow_sync(f);
    if (flow_is_empty(f) || f->mute) return 0;
    f->again = 1;
    return 1;
}

/* 1: others must have their turn, the rest must wait. A few bytes can be much work, too. */
static int turn_is_over(Flow *f)
{
    Plane *p = f->source->link->plane;
    p->budget -= FRAME;
    if (p->budget > 0 && p->budget > p->turn_end) return 0;
    f->again = 1;
    return 1;
}

/* Add a complete fragment. 1 when that makes a message, 0 when not, -1: a violation. */
static int fragment_add(Flow *f, const ws_head *h, const uint8_t *frame)
{
    Assembly *a = f->assembly;
    size_t n = (size_t)h->length;
    unsigned rest;
    if (h->kind == KIND_FIRST) {
        a->fragment_first = h->first;
        a->checked = 0;
    }
    if (buffer_add(&a->wire, frame, h->size + n) || buffer_reserve(&a->payload, n ? n : 1)) {
        ws_violate(&f->rules, 1009, "no memory for a message");
        return -1;
    }
    uint8_t *to = a->payload.data + a->payload.end;
    ws_copy(to, frame + h->size, n, h->key);
    a->payload.end += n;
    if (a->fragment_first == OP_TEXT) {
        size_t length = buffer_length(&a->payload);
        if (!ws_is_utf8(a->payload.data + a->checked, length - a->checked,
                        h->kind == KIND_LAST, &rest))
            return ws_violate(&f->rules, 1007, "text that is not UTF-8");
        a->checked = length - rest;
    }
    return h->kind == KIND_LAST;
}

/* The frame h at p, whose text is not all there yet: look at it as it comes (rule 15). */
static void text_begin(Assembly *a, const ws_head *h)
{
    const int is_fragment = h->kind != KIND_WHOLE && h->kind != KIND_FIRST;
    a->text_body = 0;
    if (h->kind == KIND_CONTROL) return;
    if ((is_fragment ? a->fragment_first : h->first & (15 | BIT_RSV1)) != OP_TEXT) return;
    a->text_body = h->size;
    a->text_seen = 0;
    a->text_carried = 0;
    if (h->key) memcpy(a->text_key, h->key, 4);
    if (is_fragment) {
        a->text_carried = (uint8_t)(buffer_length(&a->payload) - a->checked);
        memcpy(a->text_carry, a->payload.data + a->checked, a->text_carried);
    }
}

int text_check(Flow *f)
{
    Assembly *a = f->assembly;
    uint8_t *to = f->source->link->plane->scratch;
    size_t end = buffer_length(&f->in);
    while (a->text_body && a->text_body + a->text_seen < end) {
        const uint8_t *from = f->in.data + f->in.start + a->text_body + a->text_seen;
        size_t n = end - a->text_body - a->text_seen;
        unsigned rest, carried = a->text_carried;
        if (n > SCRATCH / 2) n = SCRATCH / 2;
        memcpy(to, a->text_carry, carried);
        memcpy(to + carried, from, n);
        if (f->rules.masked) {
            uint8_t key[4];
            for (int i = 0; i < 4; i++) key[i] = a->text_key[(a->text_seen + (size_t)i) & 3];
            ws_mask(to + carried, from, n, key);
        }
        if (!ws_is_utf8(to, carried + n, 0, &rest))
            return ws_violate(&f->rules, 1007, "text that is not UTF-8");
        memcpy(a->text_carry, to + carried + n - rest, rest);
        a->text_carried = (uint8_t)rest;
        a->text_seen += n;
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
    ws_copy((uint8_t *)PyBytes_AS_STRING(bytes), payload, length, key);
    return message_ask(f, first, bytes, wire, n);
}

/* The fragmented message is complete. */
static int fragments_take(Flow *f)
{
    Assembly *a = f->assembly;
    Buffer wire = a->wire, payload = a->payload;
    memset(&a->wire, 0, sizeof wire);
    memset(&a->payload, 0, sizeof payload);
    int verdict = message_take(f, a->fragment_first | BIT_FIN, payload.data, buffer_length(&payload),
                               NULL, wire.data, buffer_length(&wire));
    if (verdict == 1) {
        flow_sync(f);
        if (!f->mute) flow_put(f, wire.data, buffer_length(&wire));
    }
    buffer_free(&wire);
    buffer_free(&payload);
    return verdict;
}

/* The Close frame h is complete: its payload, unmasked, comes to stand in close. Verdicts are
 * those of message_ask(). */
static int close_take(Flow *f, const ws_head *h, const uint8_t *frame, uint8_t *close)
{
    const size_t n = (size_t)h->length;
    ws_copy(close, frame + h->size, n, h->key);
    if (flow_check_close(f, close, n)) return -1;
    if (!f->own || !buffer_length(&f->own->instead)) return 1;
    flow_sync(f);
    if (!f->mute) flow_put(f, f->own->instead.data, buffer_length(&f->own->instead));
    return 0;
}

/* The frame h is complete, and no control frame. Verdicts are those of message_ask(). */
static int data_take(Flow *f, const ws_head *h, const uint8_t *frame)
{
    const size_t n = (size_t)h->length;
    int verdict;
    if (h->kind == KIND_WHOLE) {
        verdict = message_take(f, h->first, frame + h->size, n, h->key, frame, h->size + n);
        f->messages += verdict >= 0;
        return verdict;
    }
    flow_sync(f);
    verdict = fragment_add(f, h, frame);
    f->messages += h->kind == KIND_FIRST && verdict >= 0;
    if (verdict == 1) verdict = fragments_take(f);
    return verdict < 0 ? -1 : 0; /* its frames are on their way already, or wait in wire */
}

/* Rule 14: the frames of a fragmented message, heads included, are bounded too. */
static int fragment_is_too_much(Flow *f, const ws_head *h)
{
    const Assembly *a = f->assembly;
    if (h->kind == KIND_CONTROL || h->kind == KIND_WHOLE) return 0;
    uint64_t size = h->size + h->length + (uint64_t)buffer_length(&a->wire);
    if (size <= a->max_wire) return 0;
    f->rules.code = 1009;
    snprintf(f->rules.detail, sizeof f->rules.detail,
             "a message in too many frames: %" PRIu64 " bytes of them", size);
    return 1;
}

size_t messages_take(Flow *f, const uint8_t *data, size_t n)
{
    Plane *p = f->source->link->plane;
    ws_rules *r = &f->rules;
    size_t at = 0, close_length = 0;
    int verdict = 1;
    uint8_t close[125];
    p->now_flow = f;
    p->now_data = data;
    p->now_run = p->now_at = 0;
    f->need = 2;
    f->assembly->text_body = 0;
    while (at < n && !r->closed) {
        ws_head h;
        const uint8_t *frame = data + at;
        verdict = ws_read_head(r, frame, n - at, &h);
        if (verdict == 0) f->need = n - at + 1;
        if (verdict > 0 && fragment_is_too_much(f, &h)) verdict = -1;
        if (verdict <= 0) break;
        if (n - at < h.size + h.length) {
            f->need = h.size + (size_t)h.length;
            text_begin(f->assembly, &h);
            break;
        }
        if (h.opcode == OP_CLOSE) {
            close_length = (size_t)h.length;
            verdict = close_take(f, &h, frame, close);
        } else if (h.kind != KIND_CONTROL) {
            verdict = data_take(f, &h, frame);
        } else if (ws_spend(r, h.opcode, p->now)) {
            verdict = -1;
        }
        if (verdict < 0) break;
        ws_advance(r, &h);
        f->frames++;
        at += h.size + (size_t)h.length;
        if (verdict == 0) p->now_run = at; /* not as it came */
        p->now_at = at;
        if (!flow_is_live(f) || batch_is_enough(f) || turn_is_over(f)) break;
    }
    flow_sync(f);
    p->now_flow = NULL;
    if (verdict < 0)
        flow_violate(f);
    else if (r->closed)
        flow_tell_close(f, close, close_length);
    return at;
}

void messages_again(Flow *f)
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
