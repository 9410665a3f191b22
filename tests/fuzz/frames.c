/* Fuzzes wsrelay/plane/_frames.h alone.
 *
 * The first byte of an input says what to do with the rest, the second how. Whatever is read
 * stands at the end of a block of exactly its size, so that the sanitizer sees a byte too many.
 */
#include "_frames.h"

#include <stdlib.h>

#define CHECK(condition)                                                            \
    do {                                                                            \
        if (!(condition)) {                                                         \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition); \
            abort();                                                                \
        }                                                                           \
    } while (0)

static const uint64_t LIMITS[] = {NO_LIMIT, 0, 30, 127, 1000, 70000, UINT64_C(1) << 62, 125};
static const uint8_t RESERVED[] = {0, 0x40, 0x20, 0x70};

/* A block of n bytes, which the caller frees. */
static uint8_t *exactly(const uint8_t *p, size_t n)
{
    uint8_t *block = malloc(n ? n : 1);
    CHECK(block);
    if (n) memcpy(block, p, n);
    return n ? block : block + 1;
}

static void release(uint8_t *block, size_t n) { free(n ? block : block - 1); }

/* ------------------------------------------------------------------------ heads */

static int read_exactly(ws_rules *r, const uint8_t *p, size_t n, ws_head *h, uint8_t *key)
{
    uint8_t *block = exactly(p, n);
    int answer = ws_read_head(r, block, n, h);
    if (answer == 1) {
        CHECK(h->size <= n && h->size >= 2 && h->size <= 14);
        CHECK(!h->key == !r->masked);
        if (h->key) {
            CHECK(h->key == block + h->size - 4);
            memcpy(key, h->key, 4);
        }
    }
    release(block, n);
    return answer;
}

/* The head at p, read as it grows byte by byte: the first answer that is one is the last. */
static int read_growing(const ws_rules *before, const uint8_t *p, size_t n, ws_head *h,
                        ws_rules *after)
{
    ws_head head = {0};
    int answer = 0;
    for (size_t k = 0; k <= n && k <= 16; k++) {
        ws_rules r = *before;
        ws_head grown = {0};
        uint8_t key[4] = {0};
        int now = read_exactly(&r, p, k, &grown, key);
        CHECK(now >= -1 && now <= 1 && (now == -1) == (r.code != 0));
        if (now != -1) CHECK(!memcmp(&r, before, sizeof r));
        if (answer) {
            CHECK(now == answer && !strcmp(r.detail, after->detail) && r.code == after->code);
            if (now == 1)
                CHECK(grown.length == head.length && grown.size == head.size &&
                      grown.kind == head.kind && grown.opcode == head.opcode &&
                      grown.first == head.first);
        } else if (now) {
            answer = now;
            head = grown;
            *after = r;
            if (now == 1) {
                uint8_t written[14];
                CHECK(grown.size == k && grown.first == p[0]);
                CHECK(ws_write_head(written, p[0], grown.length, r.masked ? key : NULL) == k);
                CHECK(!memcmp(written, p, k));
            }
        }
    }
    *h = head;
    return answer;
}

static void heads(uint8_t how, const uint8_t *p, size_t n)
{
    ws_rules r = {.masked = how & 1, .rsv = RESERVED[how >> 1 & 3]};
    r.max_frame = LIMITS[how >> 3 & 7];
    r.max_message = LIMITS[(how >> 6) * 2];
    r.max_fragments = how & 0x20 ? 3 : NO_LIMIT;
    size_t at = 0;
    while (at < n) {
        ws_head h;
        ws_rules after;
        int answer = read_growing(&r, p + at, n - at, &h, &after);
        if (answer <= 0) {
            if (answer) CHECK(after.code == 1002 || after.code == 1009);
            break;
        }
        CHECK(h.length >> 63 == 0);
        ws_advance(&r, &h);
        if (h.kind == KIND_CONTROL)
            CHECK(h.length <= 125);
        else
            CHECK(h.length <= r.max_frame && r.size <= r.max_message && r.number <= r.max_fragments);
        CHECK(r.inside || r.size == 0);
        /* Lengths that nobody sends: go on behind the head, so that a few bytes reach far. */
        at += h.size + (h.length <= n - at - h.size ? (size_t)h.length : 0);
    }
}

/* ------------------------------------------------------------------------ masks */

static void masks(uint8_t how, const uint8_t *p, size_t n)
{
    if (n < 4) return;
    const uint8_t *key = p;
    p += 4, n -= 4;
    size_t shift = how & 7, cut = n ? how % n : 0;
    uint8_t *there = malloc(n + shift + 1), *here = exactly(p, n);
    CHECK(there);
    ws_mask(there + shift, here, n, key);
    for (size_t i = 0; i < n; i++) CHECK(there[shift + i] == (p[i] ^ key[i & 3]));
    ws_mask(here, here, n, key);
    CHECK(!memcmp(here, there + shift, n));
    /* In two pieces, the key turned for the second. */
    uint8_t turned[4];
    for (size_t i = 0; i < 4; i++) turned[i] = key[(cut + i) & 3];
    ws_mask(here, here, cut, key);
    ws_mask(here + cut, here + cut, n - cut, turned);
    CHECK(!memcmp(here, p, n));
    free(there);
    release(here, n);
}

/* ------------------------------------------------------------------------ text */

/* RFC 3629 by the values of the characters: how many bytes at p are one; 0: none; -1: p ends
 * before that is known. */
static int character(const uint8_t *p, size_t n)
{
    if (p[0] < 0x80) return 1;
    int size = p[0] >> 5 == 6 ? 2 : p[0] >> 4 == 14 ? 3 : p[0] >> 3 == 30 ? 4 : 0;
    if (!size) return 0;
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    /* The least and the greatest that can still come of the bytes that are there. */
    uint32_t low = p[0] & (0x7F >> size), high = low;
    for (int i = 1; i < size; i++) {
        int is_there = (size_t)i < n;
        if (is_there && p[i] >> 6 != 2) return 0;
        low = low << 6 | (is_there ? p[i] & 0x3F : 0);
        high = high << 6 | (is_there ? p[i] & 0x3F : 0x3F);
    }
    if (high < least[size] || low > 0x10FFFF || (low >= 0xD800 && high <= 0xDFFF)) return 0;
    return (size_t)size <= n ? size : -1;
}

static int is_text(const uint8_t *p, size_t n, int final, unsigned *rest)
{
    *rest = 0;
    for (size_t at = 0; at < n;) {
        int size = character(p + at, n - at);
        if (size < 0) {
            *rest = (unsigned)(n - at);
            return !final;
        }
        if (!size) return 0;
        at += (size_t)size;
    }
    return 1;
}

static void texts(uint8_t how, const uint8_t *p, size_t n)
{
    unsigned rest, expected;
    uint8_t *whole = exactly(p, n);
    int final = ws_is_utf8(whole, n, 1, &rest), open = ws_is_utf8(whole, n, 0, &rest);
    CHECK(final == is_text(p, n, 1, &expected));
    CHECK(open == is_text(p, n, 0, &expected));
    if (open) CHECK(rest == expected && rest <= 3 && rest <= n && (rest == 0) == final);
    release(whole, n);
    /* In pieces, what is left of one put before the next. */
    size_t size = how % 13 + 1, carried = 0;
    int good = 1;
    for (size_t at = 0; good && at < n; at += size) {
        size_t piece = n - at < size ? n - at : size;
        uint8_t *block = exactly(p + at - carried, carried + piece);
        good = ws_is_utf8(block, carried + piece, 0, &rest);
        release(block, carried + piece);
        carried = rest;
    }
    CHECK(good == open);
    if (good) CHECK((carried == 0) == final);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2) return 0;
    static void (*const parts[])(uint8_t, const uint8_t *, size_t) = {heads, masks, texts};
    parts[data[0] % 3](data[1], data + 2, size - 2);
    return 0;
}
