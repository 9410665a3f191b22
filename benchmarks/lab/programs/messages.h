/* Time, payload and WebSocket framing, as both ends of the load generator need them. */
#ifndef MESSAGES_H
#define MESSAGES_H
#include "sockets.h"

#include <openssl/sha.h>
#include <time.h>

#define MIB (1u << 20)
#define MARK 16 /* a message begins with so many bytes that say whose it is, and which */
#define MAX_SIZE (16 * MIB)
#define MAX_HEAD 14

static uint8_t scratch[MIB]; /* one read */
static uint8_t *pattern;     /* what payload looks like; MAX_SIZE bytes */

static uint64_t now(void) /* in ns */
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* ------------------------------------------------------------------------ payload */

static void make_pattern(void)
{
    uint32_t x = 12345;
    pattern = checked(malloc(MAX_SIZE));
    for (size_t i = 0; i < MAX_SIZE; i++) {
        x = x * 1664525 + 1013904223;
        pattern[i] = (uint8_t)('A' + (x >> 24) % 58);
    }
}

/* 'E', 7 hexadecimal digits of the connection, 8 of the message. */
static void make_mark(uint8_t mark[MARK], uint32_t connection, uint64_t message)
{
    static const char digits[] = "0123456789abcdef";
    mark[0] = 'E';
    for (int i = 7; i >= 1; i--, connection >>= 4) mark[i] = (uint8_t)digits[connection & 15];
    for (int i = 15; i >= 8; i--, message >>= 4) mark[i] = (uint8_t)digits[message & 15];
}

/* ------------------------------------------------------------------------ WebSocket */

static const uint8_t MASK[4] = {0x37, 0xfa, 0x21, 0x3d}; /* of all clients */

/* Write the head of an unmasked frame; its length. */
static size_t frame_head(uint8_t head[MAX_HEAD], uint8_t first, uint64_t length)
{
    head[0] = first;
    if (length < 126) {
        head[1] = (uint8_t)length;
        return 2;
    }
    int bytes = length < 65536 ? 2 : 8;
    head[1] = bytes == 2 ? 126 : 127;
    for (int i = 0; i < bytes; i++) head[2 + i] = (uint8_t)(length >> (8 * (bytes - 1 - i)));
    return 2 + (size_t)bytes;
}

/* The length of a frame's head without its mask, by its second byte. */
static size_t head_length(uint8_t second)
{
    return (second & 127) == 126 ? 4 : (second & 127) == 127 ? 10 : 2;
}

/* The length of the payload, from a whole head. */
static uint64_t payload_length(const uint8_t *head)
{
    size_t end = head_length(head[1]);
    uint64_t length = 0;
    if (end == 2) return head[1] & 127;
    for (size_t i = 2; i < end; i++) length = length << 8 | head[i];
    return length;
}

static void mask_copy(uint8_t *to, const uint8_t *from, size_t n, const uint8_t mask[4])
{
    uint8_t twice[8];
    memcpy(twice, mask, 4);
    memcpy(twice + 4, mask, 4);
    uint64_t wide, piece;
    memcpy(&wide, twice, 8);
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        memcpy(&piece, from + i, 8);
        piece ^= wide;
        memcpy(to + i, &piece, 8);
    }
    for (; i < n; i++) to[i] = from[i] ^ mask[i & 3];
}

/* Sec-WebSocket-Accept for a key of at most 64 bytes (RFC 6455 section 4.2.2). */
static void accept_for(const char *key, size_t length, char accept[32])
{
    uint8_t text[128], digest[SHA_DIGEST_LENGTH];
    memcpy(text, key, length);
    memcpy(text + length, "258EAFA5-E914-47DA-95CA-C5AB0DC85B11", 36);
    SHA1(text, length + 36, digest);
    EVP_EncodeBlock((unsigned char *)accept, digest, sizeof digest);
}

/* The value of a field in the n bytes of a head, or NULL. */
static const char *find_field(const char *head, size_t n, const char *name, size_t *length)
{
    size_t named = strlen(name);
    const char *p = head, *end = head + n;
    while ((p = memchr(p, '\n', (size_t)(end - p)))) {
        p++;
        if ((size_t)(end - p) <= named || p[named] != ':' || strncasecmp(p, name, named)) continue;
        p += named + 1;
        while (p < end && *p == ' ') p++;
        const char *stop = memchr(p, '\r', (size_t)(end - p));
        if (stop) *length = (size_t)(stop - p);
        return stop ? p : NULL;
    }
    return NULL;
}

#endif
