/* The native engine's hands (see native.py for its head): its words, its rules, its types.
 * Begin here.
 *
 * A Plane owns one epoll instance. Its descriptor is readable whenever any socket of any link is
 * ready, so a reactor watches that one, and process() serves all that is ready in a few bounded
 * batches, in the reactor's thread. A Link joins two Sides (0 the client, 1 the backend), each a
 * socket. Each of its two Flows reads from one side, its source, and writes to the other, its
 * sink: flow 0 goes to the backend, flow 1 to the client. What a flow looks at is its level:
 *
 *     _native.c           the plane: the batch, and the extension module
 *     _link.c             what Python can ask of a link, and how a link tells its handler
 *     _flows.c            reading, writing, waiting and ending, at every level
 *     _level_bytes.c      BYTES: nothing is looked at
 *     _level_frames.c     FRAMES: heads are, payload goes on as it came
 *     _level_messages.c   MESSAGES: whole messages are put together
 *     _hooks.c            one message, and what its hook says of it
 *     _splice.c           bytes that go through the kernel
 *     _sides.c            one socket of a link, with TLS or without
 *     _transport.c        one socket before it has a link
 *     _acceptor.c         one listening socket
 *     _address.c          where a socket is, in words
 *     _frames.h           RFC 6455, pure
 *     _buffers.h          bytes that wait
 *
 * Functions are named after what they work on, then what they do: flow_put, side_close.
 *
 * Edges. Sockets are registered once, edge-triggered; so whoever stops reading before EAGAIN
 * must come back by himself: such a flow stands in the plane's list of those to be looked at
 * later, and an eventfd in the epoll set makes the reactor come again. Those in the list have
 * their turns in the order in which they came to it, and before all who come anew: nobody who
 * always has something to say can keep them waiting.
 *
 * Re-entrance. Whatever is not plain relaying is told to the link's handler, a Python object. A
 * handler or hook may call any method of any link at any time, and so may end the very link that
 * is being served: that can happen in link_tell(), in a hook, and in all that can close a side
 * (flow_put(), flow_flush() and side_finish() among them). Therefore no method reads (there is
 * one scratch buffer, and it is in use), memory of a link is released only between batches, and
 * a flow looks at its sides again after each call into Python.
 *
 * Who frees what. A Buffer belongs to the flow it is in; whoever works on its bytes across a
 * call into Python takes it out first. A Link belongs to Python, and the plane holds one
 * reference while either of its sides is open. There is no static state.
 */
#ifndef WSRELAY_NATIVE_H
#define WSRELAY_NATIVE_H

#define PY_SSIZE_T_CLEAN
#define _GNU_SOURCE
#include <Python.h>
#include <errno.h>
#include <sys/socket.h>
#include <sys/types.h>

#include "_buffers.h"
#include "_frames.h"

_Static_assert(sizeof(size_t) >= 8, "lengths of frames are kept as size_t");

enum { LEVEL_BYTES, LEVEL_FRAMES, LEVEL_MESSAGES };

#define BATCH 256            /* events of one batch */
#define BATCHES 8            /* of one process() */
#define SCRATCH (256 * 1024) /* one read */
#define BUDGET (16 << 20)    /* bytes read by one process() */
#define TURNS 8              /* reads of one flow before others have theirs, */
#define TURN (2 << 20)       /* and bytes */
#define CALL 2048            /* bytes that cost what a call of Python does: they count as read */
#define FRAME 64             /* the same for a frame that is looked at, at the level MESSAGES */
#define HEADS (64 * 1024)    /* see HEADS in wsrelay/wire/messages.py */
#define SPLICE_AFTER 2       /* full reads in a row before splicing */
#define PIPE_SIZE (512 * 1024)

typedef struct Link Link;

typedef struct {
    Link *link;
    void *ssl;             /* SSL *, kept alive by Python; NULL for plain */
    int fd;                /* a dup unless is_ours; -1 once closed */
    int error;             /* an errno: it could not be watched, close it at the start */
    uint8_t index;
    uint8_t is_ours;       /* nobody else has a descriptor of this socket */
    uint8_t missed;        /* it was ready before the link was started */
    uint8_t hup;           /* the peer's end was seen: read until EOF */
    uint8_t closing;       /* say the end when all is written, close when the peer's was heard */
    uint8_t shut;          /* FIN or close_notify was sent */
    uint8_t read_blocked;  /* TLS: reading waits for the socket to take more */
    uint8_t write_blocked; /* TLS: writing waits for the socket to have more */
    uint8_t shut_blocked;  /* TLS: close_notify waits for the socket to take more */
} Side;

/* What only a flow at the level MESSAGES has. */
typedef struct {
    PyObject *inflate;     /* callable: bytes to bytes; or NULL */
    Buffer wire, payload;  /* the fragmented message that is open */
    uint64_t max_wire;     /* rule 14 */
    size_t checked;        /* so much of payload is known to be UTF-8 */
    size_t text_body;      /* where in in the text of an incomplete frame begins; or 0 */
    size_t text_seen;      /* so much of it was looked at */
    uint8_t text_key[4], text_carry[4], text_carried; /* the character it ended in */
    uint8_t fragment_first; /* the first byte of the open fragmented message */
    uint8_t in_step, same_coding, afresh, deflates; /* see plane/messages.py */
} Assembly;

/* What the relay itself has to say in one direction, waiting for its place. */
typedef struct {
    Buffer frames, data;   /* FRAMES: for the next border of frames, of messages */
    Buffer last;           /* FRAMES: goes out at the next border, nothing after it */
    Buffer instead;        /* goes out in place of the sender's Close frame */
} Own;

typedef struct Flow {
    Side *source, *sink;
    struct Flow *opposite;
    PyObject *hook;        /* or NULL */
    Assembly *assembly;    /* MESSAGES; or NULL */
    Own *own;              /* made when first needed, stays until the link is released; or NULL */
    Buffer out;            /* what the sink has not taken yet */
    Buffer in;             /* what is not complete, or waits for a hook */
    ws_rules rules;
    size_t need;           /* MESSAGES: of in, before it makes sense to look again */
    uint64_t left;         /* FRAMES: what is to come of the frame that has begun to go out */
    uint64_t bytes, frames, messages;
    size_t piped;          /* bytes in the pipe */
    int pipe[2];           /* what they are in; -1 without */
    struct Flow *next_later;
    uint8_t level, index;
    uint8_t is_later;      /* it is in the plane's list */
    uint8_t again;         /* look at in before reading */
    uint8_t full;          /* full reads in a row; see also pipe_fill() */
    uint8_t spoilt;        /* there is more in the pipe than what is to leave it */
    uint8_t mute;          /* nothing of the sender's is forwarded */
    uint8_t muting;        /* FRAMES: mute at the next border */
    uint8_t silent;        /* nothing is even looked at */
    uint8_t waiting;       /* a hook's answer is still to come */
    uint8_t crowded;       /* the sender does not read what it is answered: ask no more */
    uint8_t ended;         /* EOF was read */
    uint8_t end_told;
    uint8_t finishing;     /* FIN when out is empty */
} Flow;

/* One socket without a link. */
typedef struct Transport {
    PyObject_HEAD
    struct Plane *plane;   /* owned */
    PyObject *protocol;    /* who hears, or NULL */
    PyObject *producer;    /* who writes and can be paused, or NULL */
    PyObject *peer;
    Buffer out;            /* what the socket has not taken yet */
    int fd;                /* -1: not there yet, closed, or given away */
    int error;             /* an errno: why it is doomed */
    struct Transport *next_later, *next_dead;
    uint8_t is_later;      /* it is in the plane's list */
    uint8_t connecting;
    uint8_t ready;         /* there may be something to read */
    uint8_t hup;           /* the peer's end was seen: read until EOF */
    uint8_t paused;
    uint8_t read_ended;    /* EOF was read */
    uint8_t finishing;     /* FIN when out is empty */
    uint8_t shut;          /* FIN was sent */
    uint8_t closing;       /* close when out is empty */
    uint8_t doomed;        /* close at once */
    uint8_t is_push;       /* the producer goes on until it is paused */
    uint8_t is_held_up;    /* and it was */
} Transport;

/* A listening socket of somebody else's. */
typedef struct Acceptor {
    PyObject_HEAD
    struct Plane *plane;   /* owned */
    int fd;                /* -1 once closed */
    PyObject *make, *accepted, *failed;
    struct Acceptor *next_dead;
} Acceptor;

/* What an epoll event points to: a Side, one of these, or, with NULL, the eventfd. */
enum { TAG_SIDE, TAG_TRANSPORT, TAG_ACCEPTOR, TAGS };

typedef struct Plane {
    PyObject_HEAD
    int epoll;
    uint8_t running;
    uint8_t *scratch;
    int wake;              /* eventfd */
    Flow *later, *latest;  /* the list's first and last; latest is of no meaning without later */
    Transport *later_transports;
    Link *dead;
    Transport *dead_transports;
    Acceptor *dead_acceptors;
    /* What messages_take() is at: of now_flow's bytes now_data, [now_run, now_at) go on as
     * they came, after what is in batch. */
    Flow *now_flow;
    const uint8_t *now_data;
    size_t now_run, now_at;
    Buffer batch;
    int spare[2], look[2]; /* pipes with nothing in them, see _splice.c; -1 without */
    int null;              /* /dev/null; or -1 */
    uint8_t keys[1024];    /* unpredictable; the last keys_left have not been used */
    size_t keys_left;
    ssize_t budget;        /* bytes that this process() may still read */
    ssize_t turn_end;      /* what of it this turn of a flow is to leave to others */
    double now;
    Py_ssize_t links, transports, users;
    PyObject *watch;       /* or NULL */
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
    uint8_t started, is_dead;
};

/* -- _native.c: the plane */

/* Seconds on a clock that never jumps. */
double clock_now(void);

/* A masking key; unpredictable to who chooses payloads (RFC 6455 section 10.3). */
void plane_key(Plane *p, uint8_t *key);

/* There is one more, or one less, that wants to be served: a link, a transport, an acceptor. */
void plane_enter(Plane *p);
void plane_leave(Plane *p);

/* Whoever calls a method from outside a batch frees what it closed. */
void plane_settle(Plane *p);

/* Whether it is one. */
int is_plane(PyObject *object);

/* -- _link.c */

extern PyType_Spec link_spec;

/* Join two legs, each a Transport or a number: their descriptors are the link's from now on.
 * NULL with an exception set. The plane's own reference is made here too. */
Link *link_new(PyTypeObject *type, Plane *p, PyObject *handler, PyObject *const *leg,
               void *const *ssl, PyObject *const *lane);

/* Call a method of the handler. An exception there ends up in sys.unraisablehook. */
void link_tell(Link *l, const char *method, const char *format, ...);

/* -- _sides.c */

/* As recv(2). TLS: 0 is the peer's close_notify. */
ssize_t side_recv(Side *s, uint8_t *to, size_t room);

/* As send(2). */
ssize_t side_send(Side *s, const uint8_t *from, size_t n);

/* Tell the peer that nothing more will come. */
void side_finish(Side *s);

/* Close one side for good, and say so. error: an errno, or 0 for a clean end. */
void side_close(Side *s, int error);

/* -- _flows.c */

/* Look at a flow when process() comes to it: never from within something else. */
void flow_later(Flow *f);

/* Send, and keep what the sink does not take. */
void flow_put(Flow *f, const uint8_t *p, size_t n);

/* 1 when the sink has taken everything. */
int flow_flush(Flow *f);

/* Its sink cannot be written any more. */
static inline void flow_fail(Flow *f, int error) { side_close(f->sink, error); }

static inline int flow_is_empty(const Flow *f) { return !f->piped && !buffer_length(&f->out); }

/* Read until there is nothing more, the sink is full, or others must have their turn. */
void flow_pump(Flow *f);

/* The sink takes bytes again. */
void flow_writable(Flow *f);

/* The place for what the relay itself has to say; NULL without memory. */
Own *flow_own(Flow *f);

/* Let go of what came and was not looked at. */
void flow_forget(Flow *f);

/* Let go of what has not left. */
void flow_drop(Flow *f);

/* The sender broke a rule, f->rules says which: tell, and look at nothing more. */
void flow_violate(Flow *f);

/* A Close frame with this unmasked payload is complete: check it. -1: a violation. */
int flow_check_close(Flow *f, const uint8_t *payload, size_t n);

/* It was forwarded: tell, and look at nothing more. */
void flow_tell_close(Flow *f, const uint8_t *payload, size_t n);

/* A hook has failed: tell, with the exception that is set. */
void flow_tell_failure(Flow *f);

/* -- _splice.c */

/* Whether bytes come in bulk, and nobody wants to see them. */
int flow_may_splice(const Flow *f);

/* As recv(2), into the pipe; but 0 means that nothing was there, or no room, and -1 that
 * recv(2) must have a look, or that the source is closed. */
ssize_t pipe_fill(Flow *f, size_t most);

/* 1 when the sink has taken all that was in the pipe. */
int pipe_flush(Flow *f);

/* Let go of the pipe and what is in it. */
void pipe_drop(Flow *f);

/* The plane is at its end. */
void plane_drop_pipes(Plane *p);

/* To look at what is in a pipe, without taking it out: prepare before anything is in it, begin,
 * then read or skip all of it. 0, or -1: none of that but prepare can fail, and what to do then
 * is look_fail(). */
int look_prepare(Plane *p);
int look_begin(Flow *f);
int look_read(Plane *p, uint8_t *to, size_t n);
int look_skip(Plane *p, size_t n);
void look_fail(Flow *f);

/* -- _level_bytes.c */

void bytes_take(Flow *f, const uint8_t *p, size_t n);

/* Instead of a read, when flow_may_splice(). 1: look again; 0: there is nothing to read. */
int bytes_splice(Flow *f);

/* -- _level_frames.c */

/* What Scanner.feed of wsrelay/wire/frames.py does. p[0, n) begins with what was held. */
void frames_take(Flow *f, const uint8_t *p, size_t n);

/* As bytes_splice(): of large frames, head and all. */
int frames_splice(Flow *f);

/* Put a frame of the relay's own at the next border, a data frame at one of messages. 0, or -1
 * without memory. */
int frames_inject(Flow *f, const uint8_t *p, size_t n, int is_data);

/* Write the relay's own frames now if they need not wait for a border. */
void frames_own(Flow *f);

/* -- _level_messages.c */

/* What Assembler.feed of wsrelay/wire/messages.py and MessageFlow do. Returns how much of
 * data[0, n) was used; the rest is to be fed again. */
size_t messages_take(Flow *f, const uint8_t *data, size_t n);

/* Look at what is in f->in, as long as something comes of it. */
void messages_again(Flow *f);

/* Look at what has come since of a text that is not all there. 0, or -1: it is no text. Uses
 * the scratch buffer. */
int text_check(Flow *f);

/* Send what messages_take() has decided so far; then others may write in its order. */
void flow_sync(Flow *f);

/* Add to the batch what goes on as it came, up to here. */
void batch_run(Flow *f);

/* Add to the batch a frame with this payload, masked towards the backend. */
void batch_frame(Flow *f, uint8_t first, const uint8_t *payload, size_t n);

/* -- _hooks.c */

/* Show one whole message to the hook. 1: forward it as it came; 0: that was dealt with;
 * -1: a violation. payload is stolen; [wire, wire + n) are its frames, which the handler gets
 * as bytes if it must decide. The batch may have been flushed. */
int message_ask(Flow *f, uint8_t first, PyObject *payload, const uint8_t *wire, size_t n);

/* -- _transport.c */

extern PyType_Spec transport_spec;

/* Whether it is one. */
int is_transport(PyObject *object);

/* Take its descriptor, which is the caller's from now on, and what it has not sent. Its events
 * still come to the epoll instance of p, if that was its plane: the caller has to see to that.
 * -1 with an exception set. */
int transport_take(Transport *t, Plane *p, Buffer *unsent);

/* Serve what epoll says of it. */
void transport_ready(Transport *t, uint32_t events);

/* Do what a method has left to be done. */
void transport_look(Transport *t);

/* Drop the plane's references to those that are over. Never within a batch. */
void plane_reap_transports(Plane *p);

/* -- _address.c */

/* (host, port), the path of a UNIX socket, or None for one without a name. */
PyObject *address_words(const struct sockaddr_storage *address, socklen_t size);

/* The address of AF_INET, AF_INET6 or AF_UNIX that these words mean. Its size, or 0: none. */
socklen_t address_read(struct sockaddr_storage *to, int family, const char *host, int port);

/* -- _acceptor.c */

extern PyType_Spec acceptor_spec;

/* Accept on fd: each connection is an accepted(make(plane, fd, peer)). failed() is called when
 * that cannot be done, for want of descriptors for one, and must take care of it. */
Acceptor *acceptor_new(PyTypeObject *type, Plane *p, int fd, PyObject *make, PyObject *accepted,
                       PyObject *failed);

void acceptor_ready(Acceptor *a);

/* Drop the plane's references to those that are closed. Never within a batch. */
void plane_reap_acceptors(Plane *p);

#endif
