/* The clients: all connections of one pattern, and what they count.
 *
 * Phases: in OPENING all connections are opened, some at a time; WARMING and MEASURING differ
 * only in that counts are taken at the borders of MEASURING; when OVER, nothing counts.
 */
#ifndef CLIENTS_H
#define CLIENTS_H
#include "http.h"

enum { PINGPONG, DOWN, UP, CONNECT, IDLE, HANDSHAKE };
enum { OPENING, WARMING, MEASURING, OVER };
enum { NEW, CONNECTING, SHAKING, ASKING, OPEN, CLOSING, DEAD };

typedef struct {
    Socket socket;
    uint32_t id, generation;
    int state, is_asked, is_echoed;
    uint64_t begun;     /* when it was opened, ns */
    uint32_t in_flight; /* messages whose echo has not come whole */
    uint32_t unsent;    /* of them, those not yet written whole */
    uint64_t sent, heard, timed;
    size_t sent_part, heard_part; /* bytes of the message under way */
    uint64_t *times;              /* when each message in flight was sent: a ring */
    uint8_t head[MAX_HEAD];
    size_t head_length;
    int in_frame, opcode;
    uint64_t frame_left;
    size_t body_left; /* HTTP: of the answer under way; 0 when a head comes next */
    char *answer;     /* a head, while it is not whole */
    size_t answer_length;
} Client;

static struct {
    const char *target, *backend, *account;
    int is_websocket, is_http, is_cached, is_tls, tls_version; /* 0: whichever */
    int pattern, connections, in_flight, opening, sources;
    size_t size;
    double warm_up, duration, hold, patience; /* s */
    int watched[256], watching;
} options = {.connections = 64,
             .in_flight = 1,
             .size = 64,
             .warm_up = 0.3,
             .duration = 1,
             .opening = 64,
             .sources = 1,
             .patience = 30};

static struct {
    uint64_t messages, bytes, errors, bad, boundary, cycles;
} counts, counts_before;

static Client *clients;
static struct sockaddr_in target;
static SSL_CTX *client_tls;
static int phase, opened, opening_now, next_client, dead, failures;
static uint64_t all_open; /* when, ns */
static char upgrade[512], accept_wanted[32];

/* ------------------------------------------------------------------------ latency */

#define STEPS 32 /* to each power of two, so that a value is right to 3 % */
static uint64_t latencies[64 * STEPS], latency_max;

static void count_latency(uint64_t ns)
{
    if (phase != MEASURING) return;
    int shift = ns < STEPS ? -1 : 63 - __builtin_clzll(ns) - 5;
    uint64_t index =
        shift < 0 ? ns : (uint64_t)(shift + 1) * STEPS + ((ns >> shift) & (STEPS - 1));
    latencies[index]++;
    if (ns > latency_max) latency_max = ns;
}

static double latency_below(double share) /* us */
{
    uint64_t all = 0, seen = 0;
    for (int i = 0; i < 64 * STEPS; i++) all += latencies[i];
    for (int i = 0; i < 64 * STEPS; i++) {
        seen += latencies[i];
        if (seen <= share * (double)all) continue;
        if (i < STEPS) return i / 1000.0;
        int shift = i / STEPS - 1;
        return (double)(((uint64_t)(i % STEPS + STEPS) << shift) + ((1ull << shift) >> 1)) / 1000;
    }
    return 0;
}

/* ------------------------------------------------------------------------ what is sent */

static uint8_t *units; /* as many whole messages as one write may have */
static size_t unit, unit_head, units_made;

/* Whether each message says whose it is. */
static int is_marked(void) { return options.pattern != UP && !options.is_cached; }

/* Whether connections are closed and opened again. */
static int is_cycling(void)
{
    return options.pattern == CONNECT || options.pattern == HANDSHAKE;
}

/* One request: a connection that has several in flight is for protocols that can tell. */
static void make_requests(void)
{
    units = checked(malloc(MAX_REQUEST));
    unit = write_request((char *)units, options.size, options.is_cached, &unit_head);
    units_made = 1;
}

static void make_units(void)
{
    uint8_t head[MAX_HEAD];
    if (options.is_http) {
        make_requests();
        return;
    }
    if (options.is_websocket) {
        unit_head = frame_head(head, 0x82, options.size);
        head[1] |= 128;
        memcpy(head + unit_head, MASK, 4);
        unit_head += 4;
    }
    unit = unit_head + options.size;
    units_made = 262144 / unit;
    if (units_made < 1) units_made = 1;
    if (units_made > 1024) units_made = 1024;
    units = checked(malloc(units_made * unit));
    static const uint8_t none[4];
    for (size_t k = 0; k < units_made; k++) {
        uint8_t *p = units + k * unit;
        memcpy(p, head, unit_head);
        mask_copy(p + unit_head, pattern, options.size, options.is_websocket ? MASK : none);
        p[unit_head] = (options.pattern == UP ? 'U' : 'E') ^ (options.is_websocket ? MASK[0] : 0);
    }
}

static void mark_unit(size_t k, const Client *c)
{
    uint8_t mark[MARK];
    make_mark(mark, c->id, c->sent + k);
    for (int i = 0; options.is_websocket && i < MARK; i++) mark[i] ^= MASK[i & 3];
    memcpy(units + k * unit + unit_head, mark, MARK);
}

static void client_open(Client *c);

static void client_close(Client *c)
{
    if (c->socket.fd >= 0) socket_close(&c->socket);
    free(c->answer);
    c->answer = NULL;
}

static void client_failed(Client *c, const char *why)
{
    int was_open = c->state >= OPEN;
    if (phase < OVER && failures < 5)
        fprintf(stderr, "connection %u: %s: %s\n", c->id, why, strerror(errno));
    client_close(c);
    if (phase == OVER) {
        c->state = DEAD;
        return;
    }
    counts.errors++;
    failures++;
    /* Try again, but not for ever. */
    int limit = is_cycling() ? 20000 : options.connections + 100;
    if (failures < limit && (is_cycling() || (phase == OPENING && !was_open))) {
        client_open(c);
        return;
    }
    if (phase == OPENING && !was_open) opening_now--;
    c->state = DEAD;
    dead++;
}

static void client_flush(Client *c)
{
    int is_up = options.pattern == UP;
    for (int turn = 0; c->unsent; turn++) {
        size_t k = c->unsent < units_made ? c->unsent : units_made;
        for (size_t i = 0; is_marked() && i < k; i++) mark_unit(i, c);
        size_t wanted = k * unit - c->sent_part;
        ssize_t n = socket_write(&c->socket, units + c->sent_part, wanted);
        if (n == BROKEN) {
            client_failed(c, "write");
            return;
        }
        size_t end = c->sent_part + (n > 0 ? (size_t)n : 0);
        c->sent += end / unit;
        c->sent_part = end % unit;
        if (!is_up) c->unsent -= (uint32_t)(end / unit);
        if (n < 0 || (size_t)n < wanted || (is_up && turn == 3)) {
            socket_watch(&c->socket, EPOLLIN | EPOLLOUT);
            return;
        }
    }
    socket_watch(&c->socket, EPOLLIN);
}

static void client_queue(Client *c, uint64_t when)
{
    c->times[c->timed++ % (uint64_t)options.in_flight] = when;
    c->in_flight++;
    c->unsent++;
}

/* Few bytes, which a new or idle socket always takes. */
static int client_say(Client *c, const uint8_t *p, size_t n)
{
    if (socket_write(&c->socket, p, n) == (ssize_t)n) return 0;
    client_failed(c, "write");
    return -1;
}

/* HANDSHAKE: nothing more is said. When the proxy has ended too, it has read all of it. */
static void client_end(Client *c)
{
    c->state = CLOSING;
    SSL_shutdown(c->socket.ssl);
    shutdown(c->socket.fd, SHUT_WR);
}

static void client_begin(Client *c)
{
    uint8_t order[6 + MARK + 1];
    switch (options.pattern) {
    case DOWN:
        snprintf((char *)order + 6, MARK + 1, "D%015zu", options.size);
        if (!options.is_websocket) {
            client_say(c, order + 6, MARK);
            return;
        }
        order[0] = 0x82;
        order[1] = 128 | MARK;
        memcpy(order + 2, MASK, 4);
        mask_copy(order + 6, order + 6, MARK, MASK);
        client_say(c, order, 6 + MARK);
        return;
    case HANDSHAKE:
        client_end(c);
        return;
    case UP:
        c->unsent = UINT32_MAX;
        break;
    case PINGPONG:
        for (int i = 0; i < options.in_flight; i++) client_queue(c, now());
        break;
    default:
        client_queue(c, now());
    }
    client_flush(c);
}

/* ------------------------------------------------------------------------ opening */

static void client_open(Client *c)
{
    uint64_t *times = c->times;
    *c = (Client){.socket = {.kind = CLIENT, .fd = new_socket()},
                  .id = c->id,
                  .generation = c->generation + 1,
                  .state = CONNECTING,
                  .begun = now(),
                  .times = times};
    if (options.sources > 1) { /* one address has not enough ports */
        int one = 1;
        struct sockaddr_in source = {.sin_family = AF_INET};
        uint32_t number = (c->id + c->generation) % (uint32_t)options.sources;
        source.sin_addr.s_addr = htonl(0x7f000101 + number);
        setsockopt(c->socket.fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one);
        if (bind(c->socket.fd, (struct sockaddr *)&source, sizeof source)) die("source address");
    }
    if (connect(c->socket.fd, (struct sockaddr *)&target, sizeof target) && errno != EINPROGRESS) {
        client_failed(c, "connect");
        return;
    }
    socket_watch(&c->socket, EPOLLOUT);
}

static void open_more(void)
{
    while (phase == OPENING && next_client < options.connections &&
           opening_now < options.opening) {
        opening_now++;
        client_open(&clients[next_client++]);
    }
}

static void opening_ended(void)
{
    phase = WARMING;
    all_open = now();
    if (options.pattern == IDLE || is_cycling()) return; /* have begun */
    for (int i = 0; i < options.connections; i++)
        if (clients[i].state == OPEN) client_begin(&clients[i]);
}

static void count_opened(void)
{
    opened++;
    if (phase == OPENING && opened + dead >= options.connections) opening_ended();
    open_more();
}

static void client_opened(Client *c)
{
    c->state = OPEN;
    socket_watch(&c->socket, EPOLLIN);
    int was_opening = phase == OPENING;
    if (was_opening) {
        opening_now--;
        if (options.pattern != IDLE) count_opened();
    }
    if (options.pattern == IDLE || is_cycling() || !was_opening) client_begin(c);
    if (was_opening) open_more();
}

/* ------------------------------------------------------------------------ what is heard */

static void client_cycle(Client *c) /* opened, echoed (CONNECT), closed */
{
    counts.cycles++;
    count_latency(now() - c->begun);
    client_close(c);
    if (phase < OVER) client_open(c);
}

static void client_heard(Client *c) /* a whole echo */
{
    uint64_t t = now(), sent = c->times[c->heard++ % (uint64_t)options.in_flight];
    c->in_flight--;
    counts.messages++;
    if (options.pattern == PINGPONG) {
        count_latency(t - sent);
        client_queue(c, t);
    } else if (options.pattern == IDLE) count_opened();
    else c->is_echoed = 1;
}

/* Compare n bytes, from offset on in their message. */
static void client_compare(const Client *c, size_t offset, const uint8_t *p, size_t n)
{
    if (options.pattern != DOWN && is_marked() && offset < MARK) {
        uint8_t mark[MARK];
        make_mark(mark, c->id, c->heard);
        size_t some = n < MARK - offset ? n : MARK - offset;
        if (memcmp(mark + offset, p, some)) counts.bad++;
        offset += some;
        p += some;
        n -= some;
    }
    if (n && memcmp(pattern + offset, p, n)) counts.bad++;
}

static void client_payload(Client *c, const uint8_t *p, size_t n)
{
    counts.bytes += n;
    if (options.pattern == UP) { /* each 'A' is a MiB that has sunk */
        for (size_t i = 0; i < n; i++) counts.bad += p[i] != 'A';
        counts.messages += n;
        return;
    }
    while (n) {
        size_t some = options.size - c->heard_part;
        if (some > n) some = n;
        if (options.pattern != DOWN && !c->in_flight) { /* nobody asked for it */
            counts.bad++;
            return;
        }
        client_compare(c, c->heard_part, p, some);
        c->heard_part += some;
        p += some;
        n -= some;
        if (c->heard_part < options.size) continue;
        c->heard_part = 0;
        if (options.pattern == DOWN) counts.messages++;
        else client_heard(c);
    }
}

/* A frame begins. Every message must come as one frame, as it was sent. */
static void client_frame(Client *c)
{
    c->opcode = c->head[0] & 15;
    c->frame_left = payload_length(c->head);
    c->in_frame = 1;
    c->head_length = 0;
    if (c->head[1] & 128) counts.bad++;
    if (c->opcode <= 2 && options.pattern != UP &&
        (c->heard_part || c->frame_left != options.size))
        counts.boundary++;
}

/* 1 when a Close came. A ping is not answered: no proxy sends one so soon. */
static int client_frames(Client *c, const uint8_t *p, size_t n)
{
    while (n) {
        if (!c->in_frame) {
            c->head[c->head_length++] = *p++;
            n--;
            if (c->head_length < 2 || c->head_length < head_length(c->head[1])) continue;
            client_frame(c);
        }
        size_t some = n < c->frame_left ? n : c->frame_left;
        if (c->opcode <= 2) client_payload(c, p, some);
        p += some;
        n -= some;
        c->frame_left -= some;
        if (c->frame_left) continue;
        c->in_frame = 0;
        if (c->opcode == 8) return 1;
    }
    return 0;
}

static int is_upgrade(const char *head, size_t n)
{
    size_t size;
    const char *accept = find_field(head, n, "sec-websocket-accept", &size);
    return n > 12 && !memcmp(head + 8, " 101", 4) && accept && size == strlen(accept_wanted) &&
           !memcmp(accept, accept_wanted, size);
}

/* The head of an answer: what of the n bytes at p was behind it. -1: it is not whole, or wrong,
 * and then the connection has failed. */
static ssize_t client_answer(Client *c, const uint8_t *p, size_t n)
{
    size_t before = c->answer_length;
    const char *head = (const char *)p;
    const char *end = c->answer ? NULL : memmem(head, n, "\r\n\r\n", 4);
    if (!end) { /* gather it */
        size_t some = n < MAX_ANSWER - before ? n : MAX_ANSWER - before;
        if (!c->answer) c->answer = checked(malloc(MAX_ANSWER));
        memcpy(c->answer + before, p, some);
        c->answer_length += some;
        head = c->answer;
        end = memmem(head, c->answer_length, "\r\n\r\n", 4);
        if (!end && c->answer_length < MAX_ANSWER) return -1;
        if (!end) {
            client_failed(c, "long head");
            return -1;
        }
    }
    size_t length = (size_t)(end + 4 - head);
    int is_right =
        options.is_http ? is_answer(head, length, options.size) : is_upgrade(head, length);
    if (!is_right && !failures) fprintf(stderr, "refused: %.*s", (int)length, head);
    free(c->answer);
    c->answer = NULL;
    c->answer_length = 0;
    if (is_right) return (ssize_t)(before + n - length);
    client_failed(c, "wrong answer");
    return -1;
}

/* HTTP: answers, which may come in pieces. -1: the connection has failed, or waits for a head. */
static int client_answers(Client *c, const uint8_t *p, size_t n)
{
    while (n) {
        if (!c->body_left) {
            if (c->unsent) {
                client_failed(c, "an answer to nothing");
                return -1;
            }
            ssize_t behind = client_answer(c, p, n);
            if (behind < 0) return -1;
            p += n - (size_t)behind;
            n = (size_t)behind;
            c->body_left = options.size;
        }
        size_t some = n < c->body_left ? n : c->body_left;
        client_payload(c, p, some);
        c->body_left -= some;
        p += some;
        n -= some;
    }
    return 0;
}

/* CONNECT: the echo came, so say goodbye. */
static void client_leave(Client *c)
{
    uint8_t frame[8] = {0x88,    0x82,    MASK[0],        MASK[1],
                        MASK[2], MASK[3], 0x03 ^ MASK[0], 0xe8 ^ MASK[1]}; /* 1000 */
    c->is_echoed = 0;
    if (options.is_websocket) {
        c->state = CLOSING;
        client_say(c, frame, sizeof frame);
    } else client_cycle(c);
}

static void client_readable(Client *c)
{
    ssize_t n = socket_read(&c->socket, scratch, sizeof scratch);
    if (n == AGAIN) return;
    if (n <= 0) {
        if (c->state == CLOSING) client_cycle(c);
        else client_failed(c, n ? "read" : "closed by the proxy");
        return;
    }
    const uint8_t *p = scratch;
    if (c->state == ASKING) {
        ssize_t behind = client_answer(c, p, (size_t)n);
        if (behind >= 0) client_opened(c);
        if (behind <= 0 || c->socket.fd < 0) return;
        p += n - behind;
        n = behind;
    }
    if (options.is_http) {
        if (client_answers(c, p, (size_t)n)) return;
    } else if (!options.is_websocket) client_payload(c, p, (size_t)n);
    else if (client_frames(c, p, (size_t)n)) {
        if (c->state == CLOSING) client_cycle(c);
        else client_failed(c, "Close");
        return;
    }
    if (c->is_echoed) client_leave(c);
    else if (c->unsent) client_flush(c);
}

/* Whether a handshake was what all have to do: X25519, ECDSA, nothing resumed. */
static int is_full_handshake(SSL *ssl)
{
    int type;
    return SSL_get_peer_signature_type_nid(ssl, &type) == 1 && type == EVP_PKEY_EC &&
           SSL_get_negotiated_group(ssl) == NID_X25519 && !SSL_session_reused(ssl);
}

/* Connected: the next step of the handshakes, if there is one. 1 when it is open or waits. */
static int client_shakes(Client *c)
{
    if (c->state == CONNECTING) {
        int error = 0;
        socklen_t size = sizeof error;
        getsockopt(c->socket.fd, SOL_SOCKET, SO_ERROR, &error, &size);
        if (error) {
            errno = error;
            client_failed(c, "connect");
            return 1;
        }
        c->state = options.is_tls ? SHAKING : ASKING;
        if (options.is_tls) {
            c->socket.ssl = checked(SSL_new(client_tls));
            SSL_set_fd(c->socket.ssl, c->socket.fd);
            SSL_set_tlsext_host_name(c->socket.ssl, "localhost");
        }
    }
    if (c->state == SHAKING) {
        int r = SSL_connect(c->socket.ssl);
        if (r != 1) {
            int wants = SSL_get_error(c->socket.ssl, r);
            if (tls_wants_more(c->socket.ssl, r))
                socket_watch(&c->socket, wants == SSL_ERROR_WANT_READ ? EPOLLIN : EPOLLOUT);
            else client_failed(c, "TLS handshake");
            return 1;
        }
        if (options.pattern == HANDSHAKE && !is_full_handshake(c->socket.ssl)) counts.bad++;
        c->state = ASKING;
    }
    if (c->state != ASKING || c->is_asked) return 0;
    c->is_asked = 1;
    if (!options.is_websocket) client_opened(c);
    else if (!client_say(c, (uint8_t *)upgrade, strlen(upgrade)))
        socket_watch(&c->socket, EPOLLIN);
    return 1;
}

static void client_event(Client *c, uint32_t events)
{
    if (c->socket.fd < 0 || client_shakes(c)) return;
    if (events & EPOLLOUT && c->unsent) client_flush(c);
    if (c->socket.fd >= 0 && events & (EPOLLIN | EPOLLHUP | EPOLLERR)) client_readable(c);
}

#endif
