/* Fuzzes a link of the extension: two socket pairs, a peer at each outer end.
 *
 * An input is a header of six bytes, a script and any number of steps.
 *
 *     byte 0  levels: bits 0-1 to the backend, 2-3 to the client; bit 4: small socket
 *             buffers; bit 5: the peers read nothing before the end
 *     byte 1  limits: bits 0-3 to the backend, 4-7 to the client (see owner.py)
 *     byte 2  reserved bits: 0-1 to the backend, 2-3 to the client; bit 4: deflated, bit 5:
 *             without context takeover, bit 6: the relay does not deflate
 *     byte 3  hooks: bits 0-3 to the backend, 4-7 to the client: 0 none, 1 returns None,
 *             2 replaces, 3 raises, else whatever the script says
 *     byte 4  how it ends (see leave()); bits 4-7: so many bytes of the first step
 *             had been held by the leg before
 *     byte 5  bits 0-4: bytes of the script, which follows
 *
 *     a step  bit 7: which peer; bit 6: and do not serve yet; bits 0-2:
 *             0-2 says the n bytes that follow (n: the next byte)
 *             3   says the n bytes that follow m + 1 times (n, m: the next bytes)
 *             4   sends its FIN
 *             5   closes its socket
 *             6   the owner does something (the next byte)
 *             7   reads, even if it should not yet
 *
 * Whatever happens: what a peer hears at level FRAMES and MESSAGES is a valid stream, nothing
 * spins, an exception is heard of, and at the end no link, no descriptor and (looked for now and
 * then) no memory is left. Without a
 * script, and where hooks change nothing, what is heard is what was said, up to the first
 * violation, and all of it once nothing moves any more.
 */
#define PY_SSIZE_T_CLEAN
#define _GNU_SOURCE
#include <Python.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sanitizer/lsan_interface.h>
#include <sys/socket.h>
#include <unistd.h>

#include "_frames.h"

#define CHECK(condition)                                                            \
    do {                                                                            \
        if (!(condition)) {                                                         \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition); \
            if (PyErr_Occurred()) PyErr_Print();                                    \
            abort();                                                                \
        }                                                                           \
    } while (0)

enum { HEADER = 6, SAID = 512 * 1024, TURNS = 20000, DESCRIPTORS = 64, LEAKS = 1024 };
enum { LEVEL_BYTES, LEVEL_FRAMES, LEVEL_MESSAGES };

typedef struct {
    uint8_t *data;
    size_t length, capacity;
} Bytes;

typedef struct {
    int fd;           /* -1 once closed */
    uint8_t finished; /* sent its FIN */
    Bytes said, heard;
} Peer;

/* Of one input. */
typedef struct {
    const uint8_t *data;
    size_t size, at;
    uint8_t header[HEADER];
    size_t script;
    Peer peer[2];     /* 0 the client, 1 the backend */
    PyObject *owner;
    uint8_t meddled, left, reading;
} Run;

static PyObject *process, *begin, *plane;
static int plane_fd;

PyMODINIT_FUNC PyInit__native(void);

/* ------------------------------------------------------------------------ Python */

static void start_python(void)
{
    PyPreConfig before;
    PyPreConfig_InitPythonConfig(&before);
    before.allocator = PYMEM_ALLOCATOR_MALLOC; /* each object is a block of the sanitizer's */
    CHECK(!PyStatus_Exception(Py_PreInitialize(&before)));
    CHECK(!PyImport_AppendInittab("wsrelay.plane._native", PyInit__native));
    PyConfig config;
    PyConfig_InitPythonConfig(&config);
    config.install_signal_handlers = 0;
    config.parse_argv = 0;
    CHECK(!PyStatus_Exception(PyConfig_SetBytesString(&config, &config.executable, PYTHON)));
    CHECK(!PyStatus_Exception(Py_InitializeFromConfig(&config)));
    PyConfig_Clear(&config);
    CHECK(!PyRun_SimpleString("import sys; sys.path.insert(0, '" ROOT "')"));
    PyObject *owner = PyImport_ImportModule("tests.fuzz.owner");
    CHECK(owner);
    CHECK((begin = PyObject_GetAttrString(owner, "begin")));
    CHECK((plane = PyObject_GetAttrString(owner, "plane")));
    CHECK((process = PyObject_GetAttrString(plane, "process")));
    PyObject *number = PyObject_CallMethod(plane, "fileno", NULL);
    CHECK(number && (plane_fd = (int)PyLong_AsLong(number)) >= 0);
    Py_DECREF(number);
    Py_DECREF(owner);
}

static void call(PyObject *answer)
{
    CHECK(answer);
    Py_DECREF(answer);
}

static long number(PyObject *of, const char *name)
{
    PyObject *value = PyObject_GetAttrString(of, name);
    CHECK(value);
    long n = PyLong_AsLong(value);
    CHECK(!PyErr_Occurred());
    Py_DECREF(value);
    return n;
}

/* ------------------------------------------------------------------------ peers */

static void add(Bytes *b, const uint8_t *p, size_t n)
{
    if (b->capacity - b->length < n) {
        b->capacity = (b->length + n) * 2;
        CHECK((b->data = realloc(b->data, b->capacity)));
    }
    if (n) memcpy(b->data + b->length, p, n);
    b->length += n;
}

/* Whether anything came. */
static int listen_to(Peer *p)
{
    static uint8_t room[64 * 1024];
    if (p->fd < 0) return 0;
    ssize_t n = recv(p->fd, room, sizeof room, MSG_DONTWAIT);
    if (n > 0) add(&p->heard, room, (size_t)n);
    return n > 0;
}

static void leave_peer(Run *r, int which)
{
    if (r->peer[which].fd < 0) return;
    close(r->peer[which].fd);
    r->peer[which].fd = -1;
    r->left = 1;
}

/* Serve until nothing moves any more. */
static void settle(Run *r)
{
    for (int turn = 0;; turn++) {
        struct pollfd ready = {.fd = plane_fd, .events = POLLIN};
        int moved = r->reading ? listen_to(&r->peer[0]) + listen_to(&r->peer[1]) : 0;
        if (poll(&ready, 1, 0) == 1)
            call(PyObject_CallNoArgs(process));
        else if (!moved)
            return;
        CHECK(turn < TURNS);
    }
}

static void say(Run *r, int which, const uint8_t *p, size_t n)
{
    Peer *peer = &r->peer[which];
    while (n && peer->fd >= 0 && !peer->finished && peer->said.length < SAID) {
        ssize_t k = send(peer->fd, p, n, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (k > 0) {
            add(&peer->said, p, (size_t)k);
            p += k, n -= (size_t)k;
            continue;
        }
        /* Nobody takes it: serve, and if that does not help it stays unsaid, like the rest. */
        struct pollfd room = {.fd = peer->fd, .events = POLLOUT};
        settle(r);
        if (k < 0 && errno != EAGAIN) break;
        if (poll(&room, 1, 0) != 1 || !(room.revents & POLLOUT)) peer->finished = 1;
    }
}

/* ------------------------------------------------------------------------ the input */

static uint8_t next(Run *r) { return r->at < r->size ? r->data[r->at++] : 0; }

static void step(Run *r)
{
    const uint8_t what = next(r);
    const int which = what >> 7;
    Peer *peer = &r->peer[which];
    switch (what & 7) {
    case 4:
        if (peer->fd >= 0) shutdown(peer->fd, SHUT_WR);
        peer->finished = 1;
        break;
    case 5:
        leave_peer(r, which);
        break;
    case 6:
        r->meddled = 1;
        call(PyObject_CallMethod(r->owner, "act", "i", (int)next(r)));
        break;
    case 7:
        listen_to(peer);
        break;
    default: {
        size_t n = next(r), times = (what & 7) == 3 ? next(r) + 1u : 1;
        if (n > r->size - r->at) n = r->size - r->at;
        while (times--) say(r, which, r->data + r->at, n);
        r->at += n;
    }
    }
    if (!(what & 0x40)) settle(r);
}

static void join(Run *r)
{
    int pair[2][2];
    size_t early[2] = {0, 0};
    for (int i = 0; i < 2; i++) {
        CHECK(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair[i]));
        r->peer[i].fd = pair[i][1];
        if (r->header[0] & 0x10)
            for (int k = 0; k < 2; k++) {
                int size = 4096;
                setsockopt(pair[i][k], SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
            }
    }
    /* What the leg had held was said before, too. */
    size_t held = r->header[4] >> 4;
    if (r->size - r->at >= 2 + held && held) {
        int which = r->data[r->at] >> 7;
        early[which] = held;
        r->at += 2;
        add(&r->peer[which].said, r->data + r->at, held);
        r->at += held;
    }
    r->owner = PyObject_CallFunction(
        begin, "y#y#iiy#y#", (char *)r->header, (Py_ssize_t)HEADER, (char *)r->data + HEADER,
        (Py_ssize_t)r->script, pair[0][0], pair[1][0], (char *)r->peer[0].said.data,
        (Py_ssize_t)early[0], (char *)r->peer[1].said.data, (Py_ssize_t)early[1]);
    CHECK(r->owner);
}

/* ------------------------------------------------------------------------ what must be heard */

static int level_of(const Run *r, int flow)
{
    int level = r->header[0] >> 2 * flow & 3;
    return level > LEVEL_MESSAGES ? LEVEL_MESSAGES : level;
}

static int hook_of(const Run *r, int flow)
{
    return level_of(r, flow) == LEVEL_FRAMES ? 0 : r->header[3] >> 4 * flow & 15;
}

static int is_deflated(const Run *r, int flow)
{
    return level_of(r, flow) == LEVEL_MESSAGES && r->header[2] & 0x10;
}

static ws_rules rules_of(const Run *r, int flow)
{
    static const uint64_t limits[] = {NO_LIMIT, 0, 30, 127, 1000, 70000};
    static const uint8_t reserved[] = {0, 0x40, 0x20, 0x70};
    unsigned limit = r->header[1] >> 4 * flow & 15;
    ws_rules rules = {.masked = flow == 0, .rsv = reserved[r->header[2] >> 2 * flow & 3]};
    rules.max_frame = limits[limit % 6];
    rules.max_message = limits[limit * 5 % 6];
    rules.max_fragments = limit < 12 ? NO_LIMIT : 3;
    if (level_of(r, flow) == LEVEL_MESSAGES) rules.rsv = is_deflated(r, flow) ? 0x40 : 0;
    return rules;
}

/* Whoever hears it must be able to read it, to the last byte: its own frames, too. */
static void check_valid(const Run *r, int flow, const Bytes *heard)
{
    ws_rules rules = rules_of(r, flow);
    size_t at = 0;
    int closed = 0;
    rules.max_frame = rules.max_message = rules.max_fragments = NO_LIMIT;
    while (at < heard->length) {
        ws_head h;
        CHECK(!closed);
        int k = ws_read_head(&rules, heard->data + at, heard->length - at, &h);
        CHECK(k >= 0);
        if (!k || heard->length - at - h.size < h.length) break;
        ws_advance(&rules, &h);
        closed = h.opcode == OP_CLOSE;
        at += h.size + (size_t)h.length;
    }
}

/* A stream in two: frames of messages, and control frames; the two may change places. */
typedef struct {
    Bytes data, control;
    size_t whole; /* of data: so much is whole messages */
} Sorted;

static int is_good_close(const uint8_t *p, size_t n)
{
    unsigned rest;
    if (n < 2) return n == 0;
    return ws_may_be_sent((unsigned)p[0] << 8 | p[1]) && ws_is_utf8(p + 2, n - 2, 1, &rest);
}

/* Read a stream by the rules, the way level MESSAGES does, until its end or the first fault. */
static void sort(const Bytes *b, ws_rules rules, Sorted *to)
{
    const uint64_t most = rules.max_message;
    Bytes text = {0};
    size_t wire = 0;
    int is_text = 0;
    for (size_t at = 0; at < b->length;) {
        const uint8_t *p = b->data + at;
        ws_head h;
        unsigned rest;
        if (ws_read_head(&rules, p, b->length - at, &h) <= 0) break;
        size_t total = h.size + (size_t)h.length;
        if (h.kind != KIND_CONTROL && h.kind != KIND_WHOLE && most != NO_LIMIT &&
            wire + h.size + h.length > 2 * most + 64 * 1024)
            break;
        if (b->length - at - h.size < h.length) break;
        size_t before = text.length;
        add(&text, p + h.size, (size_t)h.length);
        if (h.key) ws_mask(text.data + before, text.data + before, (size_t)h.length, h.key);
        if (h.kind == KIND_CONTROL) {
            int is_close = h.opcode == OP_CLOSE;
            if (is_close && !is_good_close(text.data + before, (size_t)h.length)) break;
            add(&to->control, p, total);
            text.length = before;
            if (is_close) break;
        } else {
            int is_end = h.kind == KIND_WHOLE || h.kind == KIND_LAST;
            if (h.opcode) is_text = (h.first & (15 | BIT_RSV1)) == OP_TEXT;
            if (is_text && !ws_is_utf8(text.data, text.length, is_end, &rest)) break;
            add(&to->data, p, total);
            wire += total;
            if (is_end) {
                to->whole = to->data.length;
                text.length = wire = 0;
            }
        }
        ws_advance(&rules, &h);
        at += total;
    }
    free(text.data);
}

/* How much of a stream is forwarded at level FRAMES. */
static size_t forwarded(const Bytes *b, ws_rules rules)
{
    size_t at = 0;
    while (at < b->length) {
        const uint8_t *p = b->data + at;
        ws_head h;
        if (ws_read_head(&rules, p, b->length - at, &h) <= 0) break;
        int is_whole = b->length - at - h.size >= h.length;
        if (h.kind != KIND_CONTROL && !is_whole) return b->length;
        if (!is_whole) break;
        if (h.opcode == OP_CLOSE) {
            uint8_t reason[125] = {0};
            memcpy(reason, p + h.size, (size_t)h.length);
            if (h.key) ws_mask(reason, reason, (size_t)h.length, h.key);
            return is_good_close(reason, (size_t)h.length) ? at + h.size + (size_t)h.length : at;
        }
        ws_advance(&rules, &h);
        at += h.size + (size_t)h.length;
    }
    return at;
}

/* Nothing is heard that was not said; with all, everything is. */
static void check_same(const uint8_t *heard, size_t length, const uint8_t *said, size_t n, int all)
{
    CHECK(length <= n && (!all || length == n));
    CHECK(!length || !memcmp(heard, said, length));
}

static void check_sorted(const Run *r, int flow, const Bytes *said, const Bytes *heard, int all)
{
    Sorted in = {0}, out = {0};
    ws_rules any = rules_of(r, flow);
    any.max_frame = any.max_message = any.max_fragments = NO_LIMIT;
    sort(said, rules_of(r, flow), &in);
    sort(heard, any, &out);
    check_same(out.data.data, out.data.length, in.data.data, in.whole, all);
    check_same(out.control.data, out.control.length, in.control.data, in.control.length, all);
    /* Whole messages only, unless it was broken off. */
    if (all) CHECK(out.data.length + out.control.length == heard->length);
    free(in.data.data);
    free(in.control.data);
    free(out.data.data);
    free(out.control.data);
}

/* quiet: nothing moves any more, and nobody has been stopped. */
static void check_flow(const Run *r, int flow, int quiet)
{
    const Bytes *said = &r->peer[flow].said, *heard = &r->peer[1 - flow].heard;
    const int level = level_of(r, flow), hook = hook_of(r, flow);
    if (level != LEVEL_BYTES) check_valid(r, flow, heard);
    /* Beyond 3 a hook may also answer its sender. */
    if (r->script || r->meddled || hook > 1 || hook_of(r, 1 - flow) > 3) return;
    const int all = quiet && !r->left;
    if (level == LEVEL_BYTES) {
        check_same(heard->data, heard->length, said->data, said->length, all);
    } else if (level == LEVEL_FRAMES) {
        size_t n = forwarded(said, rules_of(r, flow));
        check_same(heard->data, heard->length, said->data, n, all);
    } else if (!is_deflated(r, flow)) {
        check_sorted(r, flow, said, heard, all);
    }
}

static void check_flows(const Run *r, int quiet)
{
    check_flow(r, 0, quiet);
    check_flow(r, 1, quiet);
}

/* ------------------------------------------------------------------------ the end */

static void tell_link(Run *r, const char *what)
{
    PyObject *link = PyObject_GetAttrString(r->owner, "link");
    CHECK(link && !PyObject_SetAttrString(r->owner, "isOver", Py_True));
    call(PyObject_CallMethod(link, what, NULL));
    Py_DECREF(link);
}

static void leave(Run *r)
{
    const int how = r->header[4] & 15, first = how & 1;
    if (how & 2) tell_link(r, "close");
    if (how & 4) {
        /* In peace: both have ended, and read until they hear the end. */
        for (int i = 0; i < 2; i++)
            if (r->peer[i].fd >= 0) shutdown(r->peer[i].fd, SHUT_WR);
        settle(r);
        if (how & 2) CHECK(!number(plane, "links"));
    }
    leave_peer(r, first);
    if (how & 8) settle(r);
    if (!(how & 2)) tell_link(r, how & 4 ? "abort" : "close");
    leave_peer(r, 1 - first);
    settle(r);
    CHECK(!number(plane, "links"));
    call(PyObject_CallMethod(r->owner, "over", NULL));
}

static int count_descriptors(void)
{
    int count = 0;
    for (int fd = 0; fd < DESCRIPTORS; fd++) count += fcntl(fd, F_GETFD) != -1;
    return count;
}

/* libFuzzer would look for leaks after each input, for Python never frees all it allocates. */
static void check_leaks(void)
{
    static unsigned inputs;
    if (++inputs % LEAKS) return;
    PyGC_Collect();
    CHECK(!__lsan_do_recoverable_leak_check());
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!begin) {
        __lsan_disable(); /* what modules keep for ever */
        start_python();
        __lsan_enable();
    }
    if (size < HEADER || size - HEADER < (data[5] & 31u)) return 0;
    Run r = {.data = data, .size = size, .script = data[5] & 31};
    const Py_ssize_t references = Py_REFCNT(plane);
    const int descriptors = count_descriptors();
    memcpy(r.header, data, HEADER);
    r.at = HEADER + r.script;
    r.reading = !(r.header[0] & 0x20);
    join(&r);
    settle(&r);
    while (r.at < r.size) step(&r);
    settle(&r);
    check_flows(&r, 0);
    r.reading = 1;
    settle(&r);
    check_flows(&r, 1);
    leave(&r);
    check_flows(&r, 0);
    Py_DECREF(r.owner);
    for (int i = 0; i < 2; i++) {
        free(r.peer[i].said.data);
        free(r.peer[i].heard.data);
    }
    CHECK(count_descriptors() == descriptors);
    CHECK(Py_REFCNT(plane) == references); /* each link has one */
    check_leaks();
    return 0;
}
