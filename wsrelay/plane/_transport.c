/* One socket without a link: the transport of a Twisted protocol, from accept or dial until it
 * is closed or given to a link.
 *
 * It does what twisted.internet.tcp.Connection does, on the plane's epoll instance: it tells its
 * protocol of bytes (dataReceived), of the peer's FIN (readConnectionLost: whoever is served here
 * has a half-close) and of the end (connectionLost, by way of its own method `lost`). Other than
 * Twisted it writes at once, and only what the socket does not take waits.
 *
 * A method never calls the protocol: what it causes is told from process(), see
 * transport_later(). The plane holds one reference from the moment there is a descriptor until
 * it is gone.
 */
#include "_native.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <structmember.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#define READ_SIZE (64 * 1024)
#define CROWD (64 * 1024) /* bytes that wait before a producer is paused */

static void transport_later(Transport *t)
{
    Plane *p = t->plane;
    if (t->is_later) return;
    t->is_later = 1;
    t->next_later = p->later_transports;
    if (!p->running) eventfd_write(p->wake, 1);
    p->later_transports = t;
}

/* Call a method of some object; what it raises is the transport's end. */
static void transport_call(Transport *t, PyObject *object, const char *method, PyObject *argument)
{
    PyObject *name = PyUnicode_InternFromString(method);
    PyObject *answer = NULL;
    if (name) {
        answer = argument ? PyObject_CallMethodOneArg(object, name, argument)
                          : PyObject_CallMethodNoArgs(object, name);
        Py_DECREF(name);
    }
    if (!answer) {
        PyObject *type, *value, *traceback;
        PyErr_Fetch(&type, &value, &traceback);
        PyErr_NormalizeException(&type, &value, &traceback);
        if (value && traceback) PyException_SetTraceback(value, traceback);
        answer = PyObject_CallMethod((PyObject *)t, "failed", "(O)", value ? value : Py_None);
        if (!answer) PyErr_WriteUnraisable((PyObject *)t);
        Py_XDECREF(type);
        Py_XDECREF(value);
        Py_XDECREF(traceback);
        if (t->fd >= 0) {
            t->doomed = 1;
            t->error = ECONNABORTED;
            transport_later(t);
        }
    }
    Py_XDECREF(answer);
}

/* Tell its own Python half an errno. */
static void transport_tell(Transport *t, const char *method, int error)
{
    PyObject *number = PyLong_FromLong(error);
    if (!number) {
        PyErr_WriteUnraisable((PyObject *)t);
        return;
    }
    transport_call(t, (PyObject *)t, method, number);
    Py_DECREF(number);
}

/* Its descriptor is gone from here. The plane's reference goes between batches. */
static void transport_leave(Transport *t)
{
    Plane *p = t->plane;
    t->fd = -1;
    buffer_free(&t->out);
    t->next_dead = p->dead_transports;
    p->dead_transports = t;
    p->transports--;
    plane_leave(p);
    if (!p->running) plane_settle(p);
}

/* Close, and say why. error: an errno, or 0 for a clean end. */
static void transport_end(Transport *t, int error)
{
    if (t->fd < 0) return;
    Py_INCREF(t);
    close(t->fd);
    PyObject *producer = t->producer;
    t->producer = NULL;
    transport_leave(t);
    if (producer) {
        transport_call(t, producer, "stopProducing", NULL);
        Py_DECREF(producer);
    }
    transport_tell(t, t->connecting ? "dialled" : "lost", error);
    Py_DECREF(t);
}

/* Everything that was written has left. */
static void transport_drained(Transport *t)
{
    if (t->producer && (t->is_held_up || !t->is_push)) {
        t->is_held_up = 0;
        PyObject *producer = Py_NewRef(t->producer);
        transport_call(t, producer, "resumeProducing", NULL);
        Py_DECREF(producer);
        if (t->fd < 0 || buffer_length(&t->out)) return;
    }
    if (t->producer) return;
    if (t->closing) {
        transport_end(t, 0);
    } else if (t->finishing && !t->shut) {
        t->shut = 1;
        shutdown(t->fd, SHUT_WR);
        if (t->read_ended) transport_end(t, 0);
    }
}

/* As send(2), but what is over is over: 0 means that it waits. */
static size_t transport_send(Transport *t, const uint8_t *p, size_t n)
{
    ssize_t k;
    do k = send(t->fd, p, n, MSG_NOSIGNAL);
    while (k < 0 && errno == EINTR);
    if (k >= 0) return (size_t)k;
    if (errno != EAGAIN && errno != EWOULDBLOCK) {
        t->doomed = 1;
        t->error = errno;
        transport_later(t);
    }
    return 0;
}

static void transport_flush(Transport *t)
{
    while (buffer_length(&t->out)) {
        size_t k = transport_send(t, t->out.data + t->out.start, buffer_length(&t->out));
        if (!k) return;
        buffer_take(&t->out, k);
    }
    transport_drained(t);
}

static void transport_read(Transport *t)
{
    Plane *p = t->plane;
    for (int turn = 0; turn < TURNS; turn++) {
        if (t->fd < 0 || t->doomed || t->paused || t->read_ended || !t->ready) return;
        ssize_t n;
        do n = recv(t->fd, p->scratch, READ_SIZE, 0);
        while (n < 0 && errno == EINTR);
        if (n < 0) {
            t->ready = 0;
            if (errno != EAGAIN && errno != EWOULDBLOCK) transport_end(t, errno);
            return;
        }
        if (n == 0) {
            t->read_ended = 1;
            PyObject *protocol = Py_XNewRef(t->protocol);
            if (protocol) transport_call(t, protocol, "readConnectionLost", NULL);
            Py_XDECREF(protocol);
            if (t->shut) transport_end(t, 0);
            return;
        }
        /* Less than there is room for was all there is; the next edge says of more. */
        if (n < READ_SIZE && !t->hup) t->ready = 0;
        PyObject *data = PyBytes_FromStringAndSize((const char *)p->scratch, n);
        if (!data) {
            PyErr_Clear();
            transport_end(t, ENOMEM);
            return;
        }
        PyObject *protocol = Py_XNewRef(t->protocol);
        if (protocol) transport_call(t, protocol, "dataReceived", data);
        Py_XDECREF(protocol);
        Py_DECREF(data);
    }
    transport_later(t);
}

/* A dial has come to its end. */
static void transport_dialled(Transport *t, uint32_t events)
{
    int error = 0;
    socklen_t size = sizeof error;
    if (events & (EPOLLERR | EPOLLHUP) &&
        getsockopt(t->fd, SOL_SOCKET, SO_ERROR, &error, &size))
        error = errno;
    if (error) {
        transport_end(t, error);
        return;
    }
    t->connecting = 0;
    transport_tell(t, "dialled", 0);
}

void transport_ready(Transport *t, uint32_t events)
{
    const uint32_t end = EPOLLRDHUP | EPOLLHUP | EPOLLERR;
    if (t->fd < 0) return;
    if (t->connecting) {
        if (!(events & (EPOLLOUT | end))) return;
        transport_dialled(t, events);
        if (t->fd < 0) return;
    }
    if (events & end) t->hup = 1;
    if (events & (EPOLLIN | end)) t->ready = 1;
    if (events & EPOLLOUT && (buffer_length(&t->out) || t->producer)) transport_flush(t);
    if (t->fd >= 0 && t->ready) transport_read(t);
    if (t->fd >= 0 && events & EPOLLERR) {
        int error = 0;
        socklen_t size = sizeof error;
        getsockopt(t->fd, SOL_SOCKET, SO_ERROR, &error, &size);
        transport_end(t, error ? error : ECONNRESET);
    }
}

void transport_look(Transport *t)
{
    if (t->fd < 0) return;
    if (t->doomed) {
        if (t->error == ECONNABORTED) {
            struct linger none = {1, 0};
            setsockopt(t->fd, SOL_SOCKET, SO_LINGER, &none, sizeof none);
        }
        transport_end(t, t->error);
    } else if (!t->connecting) {
        if (!buffer_length(&t->out) && (t->closing || t->finishing)) transport_drained(t);
        transport_read(t);
    }
}

void plane_reap_transports(Plane *p)
{
    while (p->dead_transports) {
        Transport *t = p->dead_transports;
        p->dead_transports = t->next_dead;
        if (t->is_later) {
            Transport **at = &p->later_transports;
            while (*at != t) at = &(*at)->next_later;
            *at = t->next_later;
            t->is_later = 0;
        }
        Py_DECREF(t);
    }
}

/* ------------------------------------------------------------------------ its methods */

/* From now on the plane serves this descriptor, which is the transport's. */
static int transport_open(Transport *t, int fd)
{
    struct epoll_event e = {
        .events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
        .data.u64 = (uint64_t)(uintptr_t)t | TAG_TRANSPORT,
    };
    if (epoll_ctl(t->plane->epoll, EPOLL_CTL_ADD, fd, &e)) return -1;
    t->fd = fd;
    t->plane->transports++;
    plane_enter(t->plane);
    Py_INCREF(t);
    return 0;
}

static int transport_init(Transport *t, PyObject *args, PyObject *kwargs)
{
    PyObject *plane, *peer = Py_None;
    int fd = -1;
    if (kwargs && PyDict_GET_SIZE(kwargs)) {
        PyErr_SetString(PyExc_TypeError, "a transport takes no keyword arguments");
        return -1;
    }
    if (!PyArg_ParseTuple(args, "O|iO", &plane, &fd, &peer)) return -1;
    if (!is_plane(plane)) {
        PyErr_SetString(PyExc_TypeError, "a transport belongs to a Plane");
        return -1;
    }
    if (t->plane) {
        PyErr_SetString(PyExc_RuntimeError, "a transport is made once");
        return -1;
    }
    t->plane = (Plane *)Py_NewRef(plane);
    t->fd = -1;
    t->peer = Py_NewRef(peer);
    if (fd >= 0 && transport_open(t, fd)) {
        PyErr_SetFromErrno(PyExc_OSError);
        return -1;
    }
    return 0;
}

int is_transport(PyObject *object)
{
    /* Subclasses inherit the slot, with whatever Python adds to it, but not tp_init. */
    for (PyTypeObject *type = Py_TYPE(object); type; type = type->tp_base)
        if (type->tp_init == (initproc)transport_init) return 1;
    return 0;
}

/* The plane's reference was the last one of an open transport: it cannot come here open. */
static void transport_dealloc(Transport *t)
{
    buffer_free(&t->out);
    Py_XDECREF(t->protocol);
    Py_XDECREF(t->producer);
    Py_XDECREF(t->peer);
    Py_XDECREF((PyObject *)t->plane);
    PyTypeObject *type = Py_TYPE(t);
    type->tp_free(t);
    Py_DECREF(type);
}

PyDoc_STRVAR(connect_doc, "connect(family, host, port)\n--\n\nBegin to dial; dialled(error) "
             "says what came of it. Returns an errno at once if nothing can.");
static PyObject *transport_connect(Transport *t, PyObject *args)
{
    int family, port;
    const char *host;
    if (!PyArg_ParseTuple(args, "isi", &family, &host, &port)) return NULL;
    struct sockaddr_storage address;
    socklen_t size = address_read(&address, family, host, port);
    if (!size || t->fd >= 0 || !t->plane) return PyLong_FromLong(EINVAL);
    int fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) return PyLong_FromLong(errno);
    int on = 1;
    if (family != AF_UNIX) setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    int answer;
    do answer = connect(fd, (struct sockaddr *)&address, size);
    while (answer && errno == EINTR);
    if ((answer && errno != EINPROGRESS) || transport_open(t, fd)) {
        int error = errno;
        close(fd);
        return PyLong_FromLong(error);
    }
    t->connecting = 1;
    PyObject *peer = address_words(&address, size);
    if (!peer) return NULL;
    Py_XSETREF(t->peer, peer);
    return PyLong_FromLong(0);
}

PyDoc_STRVAR(write_doc, "write(data)\n--\n\nSend, at once if the socket takes it.");
static PyObject *transport_write(Transport *t, PyObject *data)
{
    Py_buffer view;
    if (PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)) return NULL;
    const uint8_t *p = view.buf;
    size_t n = (size_t)view.len;
    int failed = 0;
    if (t->fd >= 0 && !t->finishing && !t->doomed && n) {
        if (!buffer_length(&t->out) && !t->connecting) {
            size_t k = transport_send(t, p, n);
            p += k;
            n -= k;
        }
        failed = n && !t->doomed && buffer_add(&t->out, p, n);
    }
    PyBuffer_Release(&view);
    if (failed) return PyErr_NoMemory();
    if (t->producer && t->is_push && !t->is_held_up && buffer_length(&t->out) > CROWD) {
        t->is_held_up = 1;
        return PyObject_CallMethod(t->producer, "pauseProducing", NULL);
    }
    Py_RETURN_NONE;
}

PyDoc_STRVAR(pause_doc, "pauseProducing()\n--\n\nRead nothing for the time being.");
static PyObject *transport_pause(Transport *t, PyObject *unused)
{
    (void)unused;
    t->paused = 1;
    Py_RETURN_NONE;
}

PyDoc_STRVAR(resume_doc, "resumeProducing()\n--\n\nRead again.");
static PyObject *transport_resume(Transport *t, PyObject *unused)
{
    (void)unused;
    t->paused = 0;
    if (t->ready && t->fd >= 0) transport_later(t);
    Py_RETURN_NONE;
}

PyDoc_STRVAR(lose_doc, "loseConnection()\n--\n\nClose, after all that was written.");
static PyObject *transport_lose(Transport *t, PyObject *unused)
{
    (void)unused;
    if (t->fd >= 0) {
        t->closing = 1;
        if (!buffer_length(&t->out)) transport_later(t);
    }
    Py_RETURN_NONE;
}

PyDoc_STRVAR(lose_write_doc, "loseWriteConnection()\n--\n\nSend FIN, after all that was written.");
static PyObject *transport_lose_write(Transport *t, PyObject *unused)
{
    (void)unused;
    if (t->fd >= 0) {
        t->finishing = 1;
        if (!buffer_length(&t->out)) transport_later(t);
    }
    Py_RETURN_NONE;
}

PyDoc_STRVAR(abort_doc, "abortConnection()\n--\n\nClose now; what was not sent is lost (RST).");
static PyObject *transport_abort(Transport *t, PyObject *unused)
{
    (void)unused;
    if (t->fd >= 0 && !t->doomed) {
        t->doomed = 1;
        t->error = ECONNABORTED;
        transport_later(t);
    }
    Py_RETURN_NONE;
}

PyDoc_STRVAR(register_doc, "registerProducer(producer, streaming)\n--\n\n"
             "Somebody writes who can be paused.");
static PyObject *transport_register(Transport *t, PyObject *args)
{
    PyObject *producer;
    int streaming;
    if (!PyArg_ParseTuple(args, "Op", &producer, &streaming)) return NULL;
    if (t->producer) {
        PyErr_SetString(PyExc_RuntimeError, "a producer is registered already");
        return NULL;
    }
    if (t->fd < 0) return PyObject_CallMethod(producer, "stopProducing", NULL);
    t->producer = Py_NewRef(producer);
    t->is_push = (uint8_t)streaming;
    t->is_held_up = 0;
    if (!streaming) return PyObject_CallMethod(producer, "resumeProducing", NULL);
    Py_RETURN_NONE;
}

PyDoc_STRVAR(unregister_doc, "unregisterProducer()\n--\n\nIt writes no more.");
static PyObject *transport_unregister(Transport *t, PyObject *unused)
{
    (void)unused;
    Py_CLEAR(t->producer);
    if (t->fd >= 0 && (t->closing || t->finishing) && !buffer_length(&t->out)) transport_later(t);
    Py_RETURN_NONE;
}

int transport_take(Transport *t, Plane *p, Buffer *unsent)
{
    const int fd = t->fd;
    if (fd < 0 || t->doomed || t->connecting) {
        PyErr_SetString(PyExc_ValueError, "there is no connection to be taken");
        return -1;
    }
    if (t->plane != p) epoll_ctl(t->plane->epoll, EPOLL_CTL_DEL, fd, NULL);
    Py_CLEAR(t->producer);
    *unsent = t->out;
    memset(&t->out, 0, sizeof t->out);
    Py_INCREF(t);
    transport_leave(t);
    Py_DECREF(t);
    return fd;
}

PyDoc_STRVAR(fileno_doc, "fileno()\n--\n\nThe descriptor; -1 when it is closed or was given away.");
static PyObject *transport_fileno(Transport *t, PyObject *unused)
{
    (void)unused;
    return PyLong_FromLong(t->fd);
}

PyDoc_STRVAR(sockname_doc, "sockname()\n--\n\nIts own end: (host, port), a path, or None.");
static PyObject *transport_sockname(Transport *t, PyObject *unused)
{
    (void)unused;
    struct sockaddr_storage address;
    socklen_t size = sizeof address;
    if (getsockname(t->fd, (struct sockaddr *)&address, &size)) Py_RETURN_NONE;
    return address_words(&address, size);
}

static PyObject *transport_is_open(Transport *t, void *unused)
{
    (void)unused;
    return PyBool_FromLong(t->fd >= 0 && !t->connecting && !t->closing && !t->doomed);
}

static PyObject *transport_unsent(Transport *t, void *unused)
{
    (void)unused;
    return PyLong_FromSize_t(buffer_length(&t->out));
}

static PyObject *transport_disconnecting(Transport *t, void *unused)
{
    (void)unused;
    return PyBool_FromLong(t->closing || t->doomed);
}

static PyMethodDef transport_methods[] = {
    {"connect", (PyCFunction)transport_connect, METH_VARARGS, connect_doc},
    {"write", (PyCFunction)transport_write, METH_O, write_doc},
    {"pauseProducing", (PyCFunction)transport_pause, METH_NOARGS, pause_doc},
    {"resumeProducing", (PyCFunction)transport_resume, METH_NOARGS, resume_doc},
    {"stopProducing", (PyCFunction)transport_lose, METH_NOARGS, lose_doc},
    {"loseConnection", (PyCFunction)transport_lose, METH_NOARGS, lose_doc},
    {"loseWriteConnection", (PyCFunction)transport_lose_write, METH_NOARGS, lose_write_doc},
    {"abortConnection", (PyCFunction)transport_abort, METH_NOARGS, abort_doc},
    {"registerProducer", (PyCFunction)transport_register, METH_VARARGS, register_doc},
    {"unregisterProducer", (PyCFunction)transport_unregister, METH_NOARGS, unregister_doc},
    {"fileno", (PyCFunction)transport_fileno, METH_NOARGS, fileno_doc},
    {"sockname", (PyCFunction)transport_sockname, METH_NOARGS, sockname_doc},
    {NULL, NULL, 0, NULL},
};
static PyMemberDef transport_members[] = {
    {"protocol", T_OBJECT, offsetof(Transport, protocol), 0, "who hears of it, or None"},
    {"plane", T_OBJECT, offsetof(Transport, plane), READONLY, "what serves it"},
    {"_peer", T_OBJECT, offsetof(Transport, peer), READONLY, "where the client is, or None"},
    {NULL, 0, 0, 0, NULL},
};
static PyGetSetDef transport_getset[] = {
    {"isOpen", (getter)transport_is_open, NULL, "whether it could be given away", NULL},
    {"unsent", (getter)transport_unsent, NULL, "how many bytes wait to be sent", NULL},
    {"disconnecting", (getter)transport_disconnecting, NULL, "whether it is asked to end", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};
static PyType_Slot transport_slots[] = {
    {Py_tp_new, PyType_GenericNew},
    {Py_tp_init, transport_init},
    {Py_tp_dealloc, transport_dealloc},
    {Py_tp_methods, transport_methods},
    {Py_tp_members, transport_members},
    {Py_tp_getset, transport_getset},
    {Py_tp_doc, "Transport(plane, descriptor=-1, peer=None)\n--\n\nOne socket of the plane's."},
    {0, NULL},
};
PyType_Spec transport_spec = {
    .name = "wsrelay.plane._native.Transport",
    .basicsize = sizeof(Transport),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
    .slots = transport_slots,
};
