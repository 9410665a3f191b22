/* Bytes that wait: a Buffer grows at its end, is taken from its front, and is nothing but four
 * zeros when it is empty, so an idle link holds none.
 *
 * No Python and no sockets. A Buffer has one owner, which frees it; bytes are copied in. Between
 * buffer_reserve() and the owner's "end += n" nothing else may touch it: it may move.
 */
#ifndef WSRELAY_BUFFERS_H
#define WSRELAY_BUFFERS_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    uint8_t *data;
    size_t start, end, capacity; /* content is data[start, end) */
} Buffer;

static inline size_t buffer_length(const Buffer *b) { return b->end - b->start; }

static inline void buffer_free(Buffer *b)
{
    free(b->data);
    memset(b, 0, sizeof *b);
}

/* Make room for n more bytes. 0, or -1 without memory. */
static inline int buffer_reserve(Buffer *b, size_t n)
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

static inline int buffer_add(Buffer *b, const uint8_t *p, size_t n)
{
    if (!n) return 0;
    if (buffer_reserve(b, n)) return -1;
    memcpy(b->data + b->end, p, n);
    b->end += n;
    return 0;
}

/* Take n bytes from the front; an empty buffer gives its memory back. */
static inline void buffer_take(Buffer *b, size_t n)
{
    b->start += n;
    if (b->start == b->end) buffer_free(b);
}

#endif
