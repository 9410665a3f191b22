/* A listening socket, which somebody else has opened and will close: its connections are
 * accepted here. Level-triggered, so that whatever a batch leaves comes up again. */
#include "_native.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define ACCEPTS 64 /* connections of one listener before others have their turn */

/* 0, or -1 with an exception set; then the connection is closed. */
static int acceptor_take(Acceptor *a, int fd, const struct sockaddr_storage *from,
                         socklen_t size)
{
    PyObject *transport = NULL, *answer = NULL, *peer = address_words(from, size);
    if (peer) {
        transport = PyObject_CallFunction(a->make, "OiO", a->plane, fd, peer);
        Py_DECREF(peer);
    }
    if (!transport) {
        close(fd);
        return -1;
    }
    answer = PyObject_CallOneArg(a->accepted, transport);
    if (!answer) {
        /* The transport knows how to end. */
        PyObject *type, *value, *traceback;
        PyErr_Fetch(&type, &value, &traceback);
        PyObject *ended = PyObject_CallMethod(transport, "abortConnection", NULL);
        if (!ended) PyErr_Clear();
        Py_XDECREF(ended);
        PyErr_Restore(type, value, traceback);
    }
    Py_DECREF(transport);
    Py_XDECREF(answer);
    return answer ? 0 : -1;
}

void acceptor_ready(Acceptor *a)
{
    Py_INCREF(a);
    for (int i = 0; i < ACCEPTS && a->fd >= 0; i++) {
        struct sockaddr_storage from;
        socklen_t size = sizeof from;
        int fd = accept4(a->fd, (struct sockaddr *)&from, &size, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            if (acceptor_take(a, fd, &from, size)) PyErr_WriteUnraisable((PyObject *)a);
            continue;
        }
        if (errno == EINTR || errno == ECONNABORTED || errno == EPROTO) continue;
        if (errno != EAGAIN && errno != EWOULDBLOCK) {
            PyObject *answer = PyObject_CallNoArgs(a->failed);
            if (!answer) PyErr_WriteUnraisable((PyObject *)a);
            Py_XDECREF(answer);
        }
        break;
    }
    Py_DECREF(a);
}

Acceptor *acceptor_new(PyTypeObject *type, Plane *p, int fd, PyObject *make, PyObject *accepted,
                       PyObject *failed)
{
    Acceptor *a = (Acceptor *)type->tp_alloc(type, 0);
    if (!a) return NULL;
    a->plane = (Plane *)Py_NewRef((PyObject *)p);
    a->fd = -1;
    a->make = Py_NewRef(make);
    a->accepted = Py_NewRef(accepted);
    a->failed = Py_NewRef(failed);
    struct epoll_event e = {
        .events = EPOLLIN,
        .data.u64 = (uint64_t)(uintptr_t)a | TAG_ACCEPTOR,
    };
    if (epoll_ctl(p->epoll, EPOLL_CTL_ADD, fd, &e)) {
        PyErr_SetFromErrno(PyExc_OSError);
        Py_DECREF(a);
        return NULL;
    }
    int on = 1; /* accepted sockets inherit it; a UNIX socket knows no such option */
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    a->fd = fd;
    Py_INCREF(a); /* the plane's */
    plane_enter(p);
    return a;
}

void plane_reap_acceptors(Plane *p)
{
    while (p->dead_acceptors) {
        Acceptor *a = p->dead_acceptors;
        p->dead_acceptors = a->next_dead;
        Py_DECREF(a);
    }
}

PyDoc_STRVAR(close_doc, "close()\n--\n\nAccept nothing more. The descriptor stays open.");
static PyObject *acceptor_close(Acceptor *a, PyObject *unused)
{
    (void)unused;
    if (a->fd >= 0) {
        Plane *p = a->plane;
        epoll_ctl(p->epoll, EPOLL_CTL_DEL, a->fd, NULL);
        a->fd = -1;
        a->next_dead = p->dead_acceptors;
        p->dead_acceptors = a;
        plane_leave(p);
        plane_settle(p);
    }
    Py_RETURN_NONE;
}

static void acceptor_dealloc(Acceptor *a)
{
    Py_XDECREF((PyObject *)a->plane);
    Py_XDECREF(a->make);
    Py_XDECREF(a->accepted);
    Py_XDECREF(a->failed);
    PyTypeObject *type = Py_TYPE(a);
    type->tp_free(a);
    Py_DECREF(type);
}

static PyMethodDef acceptor_methods[] = {
    {"close", (PyCFunction)acceptor_close, METH_NOARGS, close_doc},
    {NULL, NULL, 0, NULL},
};
static PyType_Slot acceptor_slots[] = {
    {Py_tp_dealloc, acceptor_dealloc},
    {Py_tp_methods, acceptor_methods},
    {Py_tp_doc, "A listening socket; Plane.accept() makes it."},
    {0, NULL},
};
PyType_Spec acceptor_spec = {
    .name = "wsrelay.plane._native.Acceptor",
    .basicsize = sizeof(Acceptor),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = acceptor_slots,
};
