/* The Python type Plane, its batch, and the module; begin with _native.h. */
#include "_native.h"

#include <descrobject.h>
#include <structmember.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

/* The module's. */
typedef struct {
    PyTypeObject *plane_type, *link_type, *acceptor_type;
} State;

double clock_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

void plane_key(Plane *p, uint8_t *key)
{
    if (p->keys_left < 4) {
        ssize_t n;
        do n = getrandom(p->keys, sizeof p->keys, 0);
        while (n < 0 && errno == EINTR);
        /* It cannot fail where there is epoll_create1(); without it no key is unpredictable. */
        if (n < 4) Py_FatalError("the kernel gives no random bytes");
        p->keys_left = (size_t)n;
    }
    p->keys_left -= 4;
    memcpy(key, p->keys + p->keys_left, 4);
}

/* Take what is over out of the list of those to be looked at later. */
static void plane_forget(Plane *p)
{
    Flow **at = &p->later;
    while (*at) {
        Flow *f = *at;
        if (f->source->link->is_dead) {
            *at = f->next_later;
            f->is_later = 0;
        } else {
            p->latest = f;
            at = &f->next_later;
        }
    }
}

/* Look at those who are in the list now; who comes to it meanwhile has his turn another time. */
static void plane_look(Plane *p)
{
    const Flow *last = p->latest, *f = NULL;
    while (p->later && f != last && p->budget > 0) {
        Flow *next = p->later;
        p->later = next->next_later;
        next->is_later = 0;
        flow_pump(next);
        f = next;
    }
}

/* Release what is over. Never within a batch. */
static void plane_reap(Plane *p)
{
    plane_reap_transports(p);
    plane_reap_acceptors(p);
    if (p->dead) plane_forget(p);
    while (p->dead) {
        Link *l = p->dead;
        p->dead = l->next_dead;
        for (int i = 0; i < 2; i++) {
            Py_CLEAR(l->flow[i].hook);
            if (l->flow[i].assembly) Py_CLEAR(l->flow[i].assembly->inflate);
        }
        Py_CLEAR(l->handler);
        p->links--;
        Py_DECREF(l);
    }
}

/* Serve what epoll says of one side. */
static void side_ready(Side *s, uint32_t events)
{
    Flow *from = &s->link->flow[s->index], *to = &s->link->flow[1 - s->index];
    const uint32_t end = EPOLLRDHUP | EPOLLHUP | EPOLLERR;
    if (events & end) s->hup = 1;
    if (!s->link->started) {
        s->missed = 1;
        return;
    }
    if (events & EPOLLOUT || (s->write_blocked && events & EPOLLIN)) flow_writable(to);
    if (s->fd >= 0 && (events & (EPOLLIN | end) || (s->read_blocked && events & EPOLLOUT)))
        flow_pump(from);
    if (s->fd >= 0 && events & EPOLLERR) {
        int error = 0;
        socklen_t size = sizeof error;
        getsockopt(s->fd, SOL_SOCKET, SO_ERROR, &error, &size);
        side_close(s, error ? error : ECONNRESET);
    }
}

/* Serve what is ready now. How many events that were. */
static int plane_batch(Plane *p)
{
    struct epoll_event events[BATCH];
    int n = epoll_wait(p->epoll, events, BATCH, 0);
    p->now = clock_now();
    p->running = 1;
    plane_look(p);
    for (int i = 0; i < n; i++) {
        const uint64_t tag = events[i].data.u64 % 4;
        void *what = (void *)(uintptr_t)(events[i].data.u64 - tag);
        if (!what) {
            eventfd_t value;
            eventfd_read(p->wake, &value);
        } else if (tag == TAG_TRANSPORT) {
            transport_ready(what, events[i].events);
        } else if (tag == TAG_ACCEPTOR) {
            acceptor_ready(what);
        } else if (((Side *)what)->fd >= 0) {
            side_ready(what, events[i].events);
        }
    }
    Transport *t = p->later_transports;
    p->later_transports = NULL;
    while (t) {
        Transport *next = t->next_later;
        t->is_later = 0;
        transport_look(t);
        t = next;
    }
    p->running = 0;
    plane_reap(p);
    return n;
}

PyDoc_STRVAR(process_doc, "process()\n--\n\nServe what is ready, for a bounded time.");
static PyObject *plane_process(Plane *p, PyObject *unused)
{
    (void)unused;
    if (p->running) Py_RETURN_NONE;
    p->budget = BUDGET;
    /* A turn of the reactor costs as much as several messages do: whatever has come meanwhile
     * is served before it has its next one. */
    for (int i = 0; i < BATCHES && p->budget > 0; i++)
        if (plane_batch(p) <= 0 && !p->later && !p->later_transports) break;
    if (p->later || p->later_transports) eventfd_write(p->wake, 1);
    Py_RETURN_NONE;
}

static void plane_watch(Plane *p, int wanted)
{
    if (!p->watch) return;
    PyObject *answer = PyObject_CallOneArg(p->watch, wanted ? Py_True : Py_False);
    if (!answer) PyErr_WriteUnraisable(p->watch);
    Py_XDECREF(answer);
}

void plane_enter(Plane *p)
{
    if (!p->users++) plane_watch(p, 1);
}

void plane_leave(Plane *p)
{
    if (!--p->users) plane_watch(p, 0);
}

void plane_settle(Plane *p)
{
    if (!p->running) plane_reap(p);
}

PyDoc_STRVAR(link_doc, "link(handler, client, backend, clientSSL, backendSSL, toBackend, toClient)\n"
             "--\n\nJoin two legs, each a Transport or a descriptor, which belongs to the link from "
             "now on; an SSL is the address of an SSL object or 0.");
static PyObject *plane_link(Plane *p, PyObject *args)
{
    PyObject *handler, *leg[2], *lane[2];
    unsigned long long ssl[2];
    if (!PyArg_ParseTuple(args, "OOOKKO!O!", &handler, &leg[0], &leg[1], &ssl[0], &ssl[1],
                          &PyTuple_Type, &lane[0], &PyTuple_Type, &lane[1]))
        return NULL;
    if ((ssl[0] || ssl[1]) && !p->ssl_read) {
        PyErr_SetString(PyExc_ValueError, "useTLS() was not called");
        return NULL;
    }
    State *state = PyType_GetModuleState(Py_TYPE(p));
    void *const address[2] = {(void *)(uintptr_t)ssl[0], (void *)(uintptr_t)ssl[1]};
    return (PyObject *)link_new(state->link_type, p, handler, leg, address, lane);
}

PyDoc_STRVAR(accept_doc, "accept(descriptor, make, accepted, failed)\n--\n\nAccept on a listening "
             "socket: each connection is an accepted(make(plane, descriptor, peer)); failed() is "
             "called when accepting fails, and must take care of it.");
static PyObject *plane_accept(Plane *p, PyObject *args)
{
    int fd;
    PyObject *make, *accepted, *failed;
    if (!PyArg_ParseTuple(args, "iOOO", &fd, &make, &accepted, &failed)) return NULL;
    State *state = PyType_GetModuleState(Py_TYPE(p));
    return (PyObject *)acceptor_new(state->acceptor_type, p, fd, make, accepted, failed);
}

PyDoc_STRVAR(tls_doc, "useTLS(read, write, getError, shutdown, clearErrors)\n--\n\n"
             "The addresses of the functions of the OpenSSL that made the SSL objects.");
static PyObject *plane_use_tls(Plane *p, PyObject *args)
{
    unsigned long long a[5];
    if (!PyArg_ParseTuple(args, "KKKKK", &a[0], &a[1], &a[2], &a[3], &a[4])) return NULL;
    p->ssl_read = (int (*)(void *, void *, int))(uintptr_t)a[0];
    p->ssl_write = (int (*)(void *, const void *, int))(uintptr_t)a[1];
    p->ssl_get_error = (int (*)(const void *, int))(uintptr_t)a[2];
    p->ssl_shutdown = (int (*)(void *))(uintptr_t)a[3];
    p->err_clear = (void (*)(void))(uintptr_t)a[4];
    Py_RETURN_NONE;
}

PyDoc_STRVAR(fileno_doc, "fileno()\n--\n\nThe descriptor for the reactor to watch.");
static PyObject *plane_fileno(Plane *p, PyObject *unused)
{
    (void)unused;
    return PyLong_FromLong(p->epoll);
}

static Py_ssize_t slot_offset(PyObject *type, const char *name)
{
    PyObject *member = PyObject_GetAttrString(type, name);
    if (!member) return -1;
    Py_ssize_t offset = -1;
    if (Py_TYPE(member) == &PyMemberDescr_Type)
        offset = ((PyMemberDescrObject *)member)->d_member->offset;
    else
        PyErr_Format(PyExc_TypeError, "%s is not a slot", name);
    Py_DECREF(member);
    return offset;
}

static PyObject *plane_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    PyObject *message_type, *watch = NULL;
    if (kwargs && PyDict_GET_SIZE(kwargs)) {
        PyErr_SetString(PyExc_TypeError, "Plane() takes no keyword arguments");
        return NULL;
    }
    if (!PyArg_ParseTuple(args, "O!|O", &PyType_Type, &message_type, &watch)) return NULL;
    Plane *p = (Plane *)type->tp_alloc(type, 0);
    if (!p) return NULL;
    p->epoll = p->wake = p->spare[0] = p->look[0] = p->null = -1;
    p->message_type = Py_NewRef(message_type);
    p->watch = Py_XNewRef(watch);
    p->data_offset = slot_offset(message_type, "data");
    p->is_text_offset = slot_offset(message_type, "isText");
    if (p->data_offset < 0 || p->is_text_offset < 0) goto failed;
    p->scratch = malloc(SCRATCH);
    if (!p->scratch) {
        PyErr_NoMemory();
        goto failed;
    }
    p->epoll = epoll_create1(EPOLL_CLOEXEC);
    p->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = NULL};
    if (p->epoll < 0 || p->wake < 0 || epoll_ctl(p->epoll, EPOLL_CTL_ADD, p->wake, &e)) {
        PyErr_SetFromErrno(PyExc_OSError);
        goto failed;
    }
    return (PyObject *)p;
failed:
    Py_DECREF(p);
    return NULL;
}

static void plane_dealloc(Plane *p)
{
    if (p->epoll >= 0) close(p->epoll);
    if (p->wake >= 0) close(p->wake);
    plane_drop_pipes(p);
    free(p->scratch);
    buffer_free(&p->batch);
    Py_XDECREF(p->message_type);
    Py_XDECREF(p->watch);
    PyTypeObject *type = Py_TYPE(p);
    type->tp_free(p);
    Py_DECREF(type);
}

int is_plane(PyObject *object)
{
    return Py_TYPE(object)->tp_dealloc == (destructor)plane_dealloc;
}

static PyMethodDef plane_methods[] = {
    {"fileno", (PyCFunction)plane_fileno, METH_NOARGS, fileno_doc},
    {"process", (PyCFunction)plane_process, METH_NOARGS, process_doc},
    {"link", (PyCFunction)plane_link, METH_VARARGS, link_doc},
    {"accept", (PyCFunction)plane_accept, METH_VARARGS, accept_doc},
    {"useTLS", (PyCFunction)plane_use_tls, METH_VARARGS, tls_doc},
    {NULL, NULL, 0, NULL},
};
static PyMemberDef plane_members[] = {
    {"links", T_PYSSIZET, offsetof(Plane, links), READONLY, "how many links are open"},
    {"transports", T_PYSSIZET, offsetof(Plane, transports), READONLY, "how many are open"},
    {NULL, 0, 0, 0, NULL},
};
static PyType_Slot plane_slots[] = {
    {Py_tp_new, plane_new},
    {Py_tp_dealloc, plane_dealloc},
    {Py_tp_methods, plane_methods},
    {Py_tp_members, plane_members},
    {Py_tp_doc, "Plane(messageType, watch=None)\n--\n\nOne epoll instance and what is in "
                "it. watch(wanted) is called when there begins or ends to be anything."},
    {0, NULL},
};
static PyType_Spec plane_spec = {
    .name = "wsrelay.plane._native.Plane",
    .basicsize = sizeof(Plane),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = plane_slots,
};

/* A type of the module's: a new reference, or NULL with an exception set. */
static PyTypeObject *module_type(PyObject *module, PyType_Spec *spec)
{
    PyTypeObject *type = (PyTypeObject *)PyType_FromModuleAndSpec(module, spec, NULL);
    if (type && PyModule_AddType(module, type)) Py_CLEAR(type);
    return type;
}

static int module_exec(PyObject *module)
{
    State *state = PyModule_GetState(module);
    state->plane_type = module_type(module, &plane_spec);
    state->link_type = module_type(module, &link_spec);
    state->acceptor_type = module_type(module, &acceptor_spec);
    PyTypeObject *transport = module_type(module, &transport_spec);
    if (!state->plane_type || !state->link_type || !state->acceptor_type || !transport) return -1;
    Py_DECREF(transport);
    return 0;
}

static void module_free(void *module)
{
    State *state = PyModule_GetState((PyObject *)module);
    if (!state) return;
    Py_CLEAR(state->plane_type);
    Py_CLEAR(state->link_type);
    Py_CLEAR(state->acceptor_type);
}

static PyModuleDef_Slot module_slots[] = {
    {Py_mod_exec, module_exec},
    {0, NULL},
};
static struct PyModuleDef module = {
    PyModuleDef_HEAD_INIT,
    .m_name = "_native",
    .m_doc = "The native engine's hands; see wsrelay.plane.native.",
    .m_size = sizeof(State),
    .m_slots = module_slots,
    .m_free = module_free,
};

PyMODINIT_FUNC PyInit__native(void) { return PyModuleDef_Init(&module); }
