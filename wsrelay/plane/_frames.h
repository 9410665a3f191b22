/* WebSocket frame heads (RFC 6455 section 5), the twin of wsrelay/wire/frames.py.
 *
 * Pure functions over bytes: no Python, no sockets, no allocation. The rules, their order and
 * the words of each violation are those of the Python module, which is the specification;
 * tests/plane/test_native_frames.py compares the two on generated streams.
 */
#ifndef WSRELAY_FRAMES_H
#define WSRELAY_FRAMES_H

#include <inttypes.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

enum { OP_CONTINUATION = 0, OP_TEXT = 1, OP_BINARY = 2, OP_CLOSE = 8, OP_PING = 9, OP_PONG = 10 };
enum { BIT_FIN = 0x80, BIT_RSV1 = 0x40, BITS_RESERVED = 0x70 };

/* What a frame is to its message. */
enum { KIND_WHOLE = 1, KIND_FIRST, KIND_MIDDLE, KIND_LAST, KIND_CONTROL };

#define NO_LIMIT UINT64_MAX
#define BURST 10.0 /* seconds: see BURST in wsrelay/wire/frames.py */

/* The rules for one direction, and what became of it. */
typedef struct {
    uint64_t max_frame, max_message, max_fragments;
    uint64_t size;       /* payload so far of the fragmented message that is open */
    uint64_t number;     /* and its frames */
    double ping_cost;    /* seconds that a Ping uses up; 0 is no limit */
    double earned;       /* until when they are used; -INFINITY at first */
    uint8_t masked;      /* frames must be masked (1) or must not be (0) */
    uint8_t rsv;         /* reserved bits that an extension may use */
    uint8_t inside;      /* a fragmented message is open */
    uint8_t closed;      /* a Close frame went by */
    uint16_t code;       /* the close code of the first violation; 0 is none */
    char detail[96];     /* its words */
} ws_rules;

/* One head. */
typedef struct {
    uint64_t length;     /* of the payload */
    uint8_t size;        /* of the head itself: 2 to 14 */
    uint8_t first, kind, opcode;
    const uint8_t *key;  /* the four bytes of the mask key, or NULL */
} ws_head;

static inline int ws_violate(ws_rules *r, uint16_t code, const char *detail)
{
    r->code = code;
    snprintf(r->detail, sizeof r->detail, "%s", detail);
    return -1;
}

/* Rules 1 to 4: the kind of a frame with this first byte, or -1. */
static inline int ws_judge(ws_rules *r, uint8_t first)
{
    unsigned opcode = first & 15, allowed = r->rsv;
    if (allowed == BIT_RSV1 && opcode != OP_TEXT && opcode != OP_BINARY) allowed = 0;
    if (first & BITS_RESERVED & ~allowed) return ws_violate(r, 1002, "reserved bits are set");
    if (opcode > OP_PONG || (opcode > OP_BINARY && opcode < OP_CLOSE)) {
        r->code = 1002;
        snprintf(r->detail, sizeof r->detail, "unknown opcode %u", opcode);
        return -1;
    }
    int final = first & BIT_FIN;
    if (opcode >= OP_CLOSE)
        return final ? KIND_CONTROL : ws_violate(r, 1002, "a fragmented control frame");
    if (opcode != OP_CONTINUATION && r->inside)
        return ws_violate(r, 1002, "a new message inside a fragmented one");
    if (opcode == OP_CONTINUATION && !r->inside)
        return ws_violate(r, 1002, "a continuation of no message");
    if (r->inside) return final ? KIND_LAST : KIND_MIDDLE;
    return final ? KIND_WHOLE : KIND_FIRST;
}

/* Read the head at p. 1: it is in *h, and p holds all of it; 0: more bytes are needed; -1: a
 * rule is broken, r->code and r->detail say which. Changes nothing else. */
static inline int ws_read_head(ws_rules *r, const uint8_t *p, size_t n, ws_head *h)
{
    if (n < 2) return 0;
    int kind = ws_judge(r, p[0]);
    if (kind < 0) return -1;
    if ((p[1] >> 7) != r->masked)
        return ws_violate(r, 1002, r->masked ? "an unmasked frame" : "a masked frame");
    uint64_t length = p[1] & 127;
    unsigned extended = 0;
    if (length > 125) {
        if (kind == KIND_CONTROL)
            return ws_violate(r, 1002, "a control frame of more than 125 bytes");
        extended = length == 126 ? 2 : 8;
        if (n < 2 + extended) return 0;
        length = 0;
        for (unsigned i = 0; i < extended; i++) length = length << 8 | p[2 + i];
        if (length < (extended == 2 ? 126u : 65536u)) {
            r->code = 1002;
            snprintf(r->detail, sizeof r->detail, "a length of %" PRIu64 " in %u bytes", length,
                     extended);
            return -1;
        }
        if (length >> 63) return ws_violate(r, 1002, "a length of 64 bits");
    }
    if (kind != KIND_CONTROL) {
        if (length > r->max_frame) {
            r->code = 1009;
            snprintf(r->detail, sizeof r->detail, "a frame of %" PRIu64 " bytes, allowed are %" PRIu64,
                     length, r->max_frame);
            return -1;
        }
        uint64_t size = r->size + length; /* both below 2**63 */
        if (size > r->max_message) {
            r->code = 1009;
            snprintf(r->detail, sizeof r->detail,
                     "a message of %" PRIu64 " bytes, allowed are %" PRIu64, size, r->max_message);
            return -1;
        }
        if (kind != KIND_WHOLE && r->number >= r->max_fragments) {
            r->code = 1009;
            snprintf(r->detail, sizeof r->detail, "a message in more than %" PRIu64 " frames",
                     r->max_fragments);
            return -1;
        }
    }
    h->size = (uint8_t)(2 + extended + (r->masked ? 4 : 0));
    if (n < h->size) return 0;
    h->length = length;
    h->first = p[0];
    h->kind = (uint8_t)kind;
    h->opcode = p[0] & 15;
    h->key = r->masked ? p + h->size - 4 : NULL;
    return 1;
}

/* Go on to the state behind a data frame. */
static inline void ws_advance(ws_rules *r, const ws_head *h)
{
    if (h->kind == KIND_LAST) {
        r->inside = 0;
        r->size = r->number = 0;
    } else if (h->kind == KIND_FIRST || h->kind == KIND_MIDDLE) {
        r->inside = 1;
        r->size += h->length;
        r->number++;
    }
}

/* Rule 12, for a complete Ping or Pong that has come now. 0, or -1: too soon. */
static inline int ws_spend(ws_rules *r, uint8_t opcode, double now)
{
    const double cost = opcode == OP_PONG ? r->ping_cost / 2 : r->ping_cost;
    const double from = now - (r->ping_cost > BURST ? r->ping_cost : BURST);
    r->earned = (r->earned > from ? r->earned : from) + cost;
    return r->earned > now ? ws_violate(r, 1008, "too many pings and pongs") : 0;
}

/* to = from ^ key, n bytes; the two may be the same place. */
static inline void ws_mask(uint8_t *to, const uint8_t *from, size_t n, const uint8_t *key)
{
    uint32_t k4;
    memcpy(&k4, key, 4);
    const uint64_t k8 = (uint64_t)k4 << 32 | k4;
    size_t i = 0;
    for (; i + 32 <= n; i += 32) {
        uint64_t lane[4];
        memcpy(lane, from + i, 32);
        lane[0] ^= k8, lane[1] ^= k8, lane[2] ^= k8, lane[3] ^= k8;
        memcpy(to + i, lane, 32);
    }
    for (; i < n; i++) to[i] = from[i] ^ key[i & 3];
}

/* to = from, n bytes, unmasked when there is a key. */
static inline void ws_copy(uint8_t *to, const uint8_t *from, size_t n, const uint8_t *key)
{
    if (key)
        ws_mask(to, from, n, key);
    else
        memcpy(to, from, n);
}

/* Write a frame's head for a payload of n bytes; at most 14 bytes, returns how many. */
static inline unsigned ws_write_head(uint8_t *o, uint8_t first, uint64_t n, const uint8_t *key)
{
    const uint8_t bit = key ? 0x80 : 0;
    unsigned size = 2;
    o[0] = first;
    if (n < 126) {
        o[1] = (uint8_t)(bit | n);
    } else if (n < 65536) {
        o[1] = bit | 126;
        o[2] = (uint8_t)(n >> 8);
        o[3] = (uint8_t)n;
        size = 4;
    } else {
        o[1] = bit | 127;
        for (int i = 0; i < 8; i++) o[2 + i] = (uint8_t)(n >> (56 - 8 * i));
        size = 10;
    }
    if (key) {
        memcpy(o + size, key, 4);
        size += 4;
    }
    return size;
}

/* Whether a close code may stand in a Close frame. */
static inline int ws_may_be_sent(unsigned code)
{
    return (code >= 1000 && code <= 1003) || (code >= 1007 && code <= 1014) ||
           (code >= 3000 && code <= 4999);
}

/* Whether n bytes are UTF-8 (RFC 3629). With final 0 the end of a character may be missing;
 * *rest is then how many bytes of its beginning are there. */
static inline int ws_is_utf8(const uint8_t *p, size_t n, int final, unsigned *rest)
{
    size_t i = 0;
    *rest = 0;
    while (i < n) {
        if (i + 8 <= n) {
            uint64_t eight;
            memcpy(&eight, p + i, 8);
            if (!(eight & UINT64_C(0x8080808080808080))) {
                i += 8;
                continue;
            }
        }
        uint8_t c = p[i];
        if (c < 0x80) {
            i++;
            continue;
        }
        unsigned need;
        uint8_t low = 0x80, high = 0xBF;
        if (c >= 0xC2 && c <= 0xDF) {
            need = 1;
        } else if (c >= 0xE0 && c <= 0xEF) {
            need = 2;
            if (c == 0xE0) low = 0xA0;
            if (c == 0xED) high = 0x9F;
        } else if (c >= 0xF0 && c <= 0xF4) {
            need = 3;
            if (c == 0xF0) low = 0x90;
            if (c == 0xF4) high = 0x8F;
        } else {
            return 0;
        }
        for (unsigned k = 1; k <= need; k++) {
            if (i + k == n) {
                *rest = k;
                return !final;
            }
            uint8_t d = p[i + k];
            if (d < low || d > high) return 0;
            low = 0x80, high = 0xBF;
        }
        i += need + 1;
    }
    return 1;
}

#endif
