/* The Python type Link: what can be asked of two joined sockets.
 *
 * Methods set flags and write; they never read, see the rules of re-entrance in _native.h. A
 * direction is 0 (to the backend) or 1 (to the client). Every method that may have closed a side
 * ends with plane_settle().
 */
#include "_native.h"

#include <math.h>
#include <sys/epoll.h>
#include <unistd.h>

void link_tell(Link *l, const char *method, const char *format, ...)
{
    if (!l->handler) return;
    PyObject *handler = l->handler;
    Py_INCREF(handler);
    va_list arguments;
    va_start(arguments, format);
    PyObject *args = Py_VaBuildValue(format, arguments);
    va_end(arguments);
    PyObject *bound = args ? PyObject_GetAttrString(handler, method) : NULL;
    PyObject *answer = bound ? PyObject_CallObject(bound, args) : NULL;
    if (!answer) PyErr_WriteUnraisable(handler);
    Py_XDECREF(answer);
    Py_XDECREF(bound);
    Py_XDECREF(args);
    Py_DECREF(handler);
}

/* A lane: (level, hook, maxFrame, maxMessage, maxFragments, pingCost, rsv, inflate, sameCoding,
 * afresh, deflates); a limit of -1 is none, and a cost of 0. */
static int flow_configure(Flow *f, PyObject *lane)
{
    int level, rsv, same, afresh, deflates;
    long long max_frame, max_message, max_fragments;
    double ping_cost;
    PyObject *hook, *inflate;
    if (!PyArg_ParseTuple(lane, "iOLLLdiOppp", &level, &hook, &max_frame, &max_message,
                          &max_fragments, &ping_cost, &rsv, &inflate, &same, &afresh, &deflates))
        return -1;
    f->level = (uint8_t)level;
    f->rules.masked = f->index == 0;
    f->rules.rsv = (uint8_t)rsv;
    f->rules.max_frame = max_frame < 0 ? NO_LIMIT : (uint64_t)max_frame;
    f->rules.max_message = max_message < 0 ? NO_LIMIT : (uint64_t)max_message;
    f->rules.max_fragments = max_fragments < 0 ? NO_LIMIT : (uint64_t)max_fragments;
    f->rules.ping_cost = ping_cost;
    f->rules.earned = -INFINITY;
    f->hook = hook == Py_None ? NULL : Py_NewRef(hook);
    if (level != LEVEL_MESSAGES) return 0;
    Assembly *a = f->assembly = calloc(1, sizeof *a);
    if (!a) {
        PyErr_NoMemory();
        return -1;
    }
    const uint64_t most = f->rules.max_message;
    a->max_wire = most > (NO_LIMIT - HEADS) / 2 ? NO_LIMIT : 2 * most + HEADS;
    a->in_step = 1;
    a->same_coding = (uint8_t)same;
    a->afresh = (uint8_t)afresh;
    a->deflates = (uint8_t)deflates;
    a->inflate = inflate == Py_None ? NULL : Py_NewRef(inflate);
    return 0;
}

/* Take over a leg: a Transport of this or another plane, or a descriptor with its number. -1 with
 * an exception set; then nothing was taken. */
static int link_take(Link *l, int index, PyObject *leg)
{
    Plane *p = l->plane;
    Side *s = &l->side[index];
    if (is_transport(leg)) {
        s->fd = transport_take((Transport *)leg, p, &l->flow[1 - index].out);
        if (s->fd < 0) return -1;
        s->is_ours = 1;
    } else {
        long fd = PyLong_AsLong(leg);
        if (fd < 0) {
            if (!PyErr_Occurred()) PyErr_SetString(PyExc_ValueError, "that is no descriptor");
            return -1;
        }
        s->fd = (int)fd;
    }
    struct epoll_event e = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.ptr = s};
    int failed = epoll_ctl(p->epoll, EPOLL_CTL_MOD, s->fd, &e);
    if (failed && errno == ENOENT) failed = epoll_ctl(p->epoll, EPOLL_CTL_ADD, s->fd, &e);
    if (failed) s->error = errno;
    return 0;
}

Link *link_new(PyTypeObject *type, Plane *p, PyObject *handler, PyObject *const *leg,
               void *const *ssl, PyObject *const *lane)
{
    Link *l = (Link *)type->tp_alloc(type, 0);
    if (!l) return NULL;
    for (int i = 0; i < 2; i++) {
        l->side[i] = (Side){.link = l, .ssl = ssl[i], .fd = -1, .index = (uint8_t)i};
        l->flow[i].source = &l->side[i];
        l->flow[i].sink = &l->side[1 - i];
        l->flow[i].opposite = &l->flow[1 - i];
        l->flow[i].index = (uint8_t)i;
        l->flow[i].pipe[0] = l->flow[i].pipe[1] = -1;
    }
    l->plane = (Plane *)Py_NewRef(p);
    l->handler = Py_NewRef(handler);
    l->active = clock_now();
    if (flow_configure(&l->flow[0], lane[0]) || flow_configure(&l->flow[1], lane[1])) {
        Py_DECREF(l);
        return NULL;
    }
    if (link_take(l, 0, leg[0]) || link_take(l, 1, leg[1])) {
        for (int i = 0; i < 2; i++) {
            if (l->side[i].fd < 0) continue;
            epoll_ctl(p->epoll, EPOLL_CTL_DEL, l->side[i].fd, NULL);
            close(l->side[i].fd);
        }
        Py_DECREF(l);
        return NULL;
    }
    p->links++;
    plane_enter(p);
    return (Link *)Py_NewRef(l); /* one reference is the plane's, until plane_reap() */
}

static Flow *link_flow(Link *l, int index)
{
    if (index != 0 && index != 1) {
        PyErr_SetString(PyExc_IndexError, "a direction is 0 or 1");
        return NULL;
    }
    return &l->flow[index];
}

PyDoc_STRVAR(start_doc, "start(toBackend, toClient)\n--\n\nBegin, with the bytes that were held.");
static PyObject *link_start(Link *l, PyObject *args)
{
    Py_buffer early[2];
    if (!PyArg_ParseTuple(args, "y*y*", &early[0], &early[1])) return NULL;
    l->started = 1;
    for (int i = 0; i < 2; i++) {
        Flow *f = &l->flow[i];
        Side *s = f->source;
        if (s->fd < 0) continue;
        if (early[i].len) {
            if (buffer_add(&f->in, early[i].buf, (size_t)early[i].len)) s->error = ENOMEM;
            f->bytes += (uint64_t)early[i].len;
            f->again = 1;
        }
        /* OpenSSL may hold bytes that no event will announce, and events may have been missed. */
        if (early[i].len || s->ssl || s->missed) flow_later(f);
    }
    for (int i = 0; i < 2; i++) {
        if (l->side[i].error) side_close(&l->side[i], l->side[i].error);
        if (buffer_length(&l->flow[i].out)) flow_writable(&l->flow[i]);
    }
    PyBuffer_Release(&early[0]);
    PyBuffer_Release(&early[1]);
    plane_settle(l->plane);
    Py_RETURN_NONE;
}

PyDoc_STRVAR(write_doc, "write(direction, data)\n--\n\nForward these bytes, unless mute.");
static PyObject *link_write(Link *l, PyObject *args)
{
    int index;
    Py_buffer data;
    if (!PyArg_ParseTuple(args, "iy*", &index, &data)) return NULL;
    Flow *f = link_flow(l, index);
    if (f && !f->mute) {
        flow_sync(f);
        flow_put(f, data.buf, (size_t)data.len);
    }
    PyBuffer_Release(&data);
    if (!f) return NULL;
    plane_settle(l->plane);
    Py_RETURN_NONE;
}

PyDoc_STRVAR(inject_doc, "inject(direction, frame, isData)\n--\n\n"
             "Put a frame between two frames, or between two messages.");
static PyObject *link_inject(Link *l, PyObject *args)
{
    int index, is_data, failed = 0;
    Py_buffer data;
    if (!PyArg_ParseTuple(args, "iy*p", &index, &data, &is_data)) return NULL;
    Flow *f = link_flow(l, index);
    if (f && !f->mute && f->sink->fd >= 0) {
        if (f->level == LEVEL_FRAMES) {
            failed = frames_inject(f, data.buf, (size_t)data.len, is_data);
        } else {
            flow_sync(f);
            flow_put(f, data.buf, (size_t)data.len);
        }
    }
    PyBuffer_Release(&data);
    if (!f) return NULL;
    if (failed) return PyErr_NoMemory();
    plane_settle(l->plane);
    Py_RETURN_NONE;
}

PyDoc_STRVAR(mute_doc, "mute(direction, last)\n--\n\n"
             "Forward nothing more after last; whether last can go out.");
static PyObject *link_mute(Link *l, PyObject *args)
{
    int index, told = 1, failed = 0;
    Py_buffer last;
    if (!PyArg_ParseTuple(args, "iy*", &index, &last)) return NULL;
    Flow *f = link_flow(l, index);
    if (f) {
        if (f->mute || f->muting) {
            told = 0;
        } else if (f->level == LEVEL_FRAMES && f->left) {
            if (f->silent || f->ended || f->source->fd < 0) {
                f->mute = 1;
                told = 0;
            } else if (last.len) {
                Own *own = flow_own(f);
                failed = !own || buffer_add(&own->last, last.buf, (size_t)last.len);
                f->muting = !failed;
            } else {
                f->mute = 1;
            }
        } else {
            if (f->level == LEVEL_FRAMES) frames_own(f);
            flow_sync(f);
            flow_put(f, last.buf, (size_t)last.len);
            f->mute = 1;
        }
        if (f->level == LEVEL_BYTES) f->silent = 1;
        if (f->mute && (f->waiting || f->crowded)) {
            /* What is still to be answered will change nothing. */
            f->waiting = f->crowded = 0;
            f->again = 1;
        }
        flow_later(f);
    }
    PyBuffer_Release(&last);
    if (!f) return NULL;
    if (failed) return PyErr_NoMemory();
    plane_settle(l->plane);
    return PyBool_FromLong(told);
}

PyDoc_STRVAR(closeWith_doc, "closeWith(direction, last)\n--\n\n"
             "Put last in place of the sender's Close frame.");
static PyObject *link_closeWith(Link *l, PyObject *args)
{
    int index, failed = 0;
    Py_buffer last;
    if (!PyArg_ParseTuple(args, "iy*", &index, &last)) return NULL;
    Flow *f = link_flow(l, index);
    if (f && !f->mute) {
        Own *own = flow_own(f);
        if (own) buffer_free(&own->instead);
        failed = !own || buffer_add(&own->instead, last.buf, (size_t)last.len);
    }
    PyBuffer_Release(&last);
    if (!f) return NULL;
    if (failed) return PyErr_NoMemory();
    return PyBool_FromLong(!f->mute);
}

/* A method with a direction and nothing else. */
#define DIRECTED(name, text, body)                                                  \
    PyDoc_STRVAR(name##_doc, #name "(direction)\n--\n\n" text);                  \
    static PyObject *link_##name(Link *l, PyObject *index)                          \
    {                                                                               \
        long i = PyLong_AsLong(index);                                              \
        if (i == -1 && PyErr_Occurred()) return NULL;                               \
        Flow *f = link_flow(l, (int)i);                                             \
        if (!f) return NULL;                                                        \
        body                                                                        \
    }

DIRECTED(finish, "Send FIN after all that was forwarded, and nothing more.", {
    flow_sync(f);
    f->finishing = f->mute = 1;
    flow_later(f);
    if (flow_is_empty(f)) side_finish(f->sink);
    plane_settle(l->plane);
    Py_RETURN_NONE;
})
DIRECTED(hold, "Read nothing until release(): a hook's answer is still to come.", {
    f->waiting = 1;
    Py_RETURN_NONE;
})
DIRECTED(release, "The answer came.", {
    f->waiting = 0;
    f->again = 1;
    flow_later(f);
    Py_RETURN_NONE;
})
DIRECTED(silence, "Read on, look at nothing, forward nothing.", {
    f->silent = 1;
    flow_later(f);
    Py_RETURN_NONE;
})
DIRECTED(retire, "Forget the hook: bytes are spliced from now on.", {
    Py_CLEAR(f->hook);
    Py_RETURN_NONE;
})
DIRECTED(outOfStep, "The receiver's inflater has missed something.", {
    if (f->assembly) f->assembly->in_step = 0;
    Py_RETURN_NONE;
})
DIRECTED(mayForward, "Whether compressed frames may go on as they came.", {
    const Assembly *a = f->assembly;
    return PyBool_FromLong(!a || (a->same_coding && (a->in_step || a->afresh)));
})
DIRECTED(isMute, "Whether nothing of the sender's is forwarded.", {
    return PyBool_FromLong(f->mute || f->silent || f->source->fd < 0);
})
DIRECTED(counts, "Bytes, frames and messages so far.", {
    return Py_BuildValue("(KKK)", (unsigned long long)f->bytes, (unsigned long long)f->frames,
                         (unsigned long long)f->messages);
})

PyDoc_STRVAR(close_doc, "close()\n--\n\n"
             "Close both sides after all that was forwarded and when each has ended.");
static PyObject *link_close(Link *l, PyObject *unused)
{
    (void)unused;
    for (int i = 0; i < 2; i++) {
        Flow *f = &l->flow[i];
        flow_sync(f);
        f->mute = f->silent = 1;
        f->waiting = f->crowded = 0;
        buffer_free(&f->in);
        l->side[i].closing = 1;
        flow_later(f);
    }
    for (int i = 0; i < 2; i++)
        if (flow_is_empty(&l->flow[1 - i])) side_finish(&l->side[i]);
    plane_settle(l->plane);
    Py_RETURN_NONE;
}

PyDoc_STRVAR(abort_doc, "abort()\n--\n\nClose both sides at once.");
static PyObject *link_abort(Link *l, PyObject *unused)
{
    (void)unused;
    for (int i = 0; i < 2; i++) side_close(&l->side[i], ECONNABORTED);
    plane_settle(l->plane);
    Py_RETURN_NONE;
}

PyDoc_STRVAR(idle_doc, "idleFor()\n--\n\nSeconds since a byte was read from either side.");
static PyObject *link_idle(Link *l, PyObject *unused)
{
    (void)unused;
    return PyFloat_FromDouble(clock_now() - l->active);
}

static void link_dealloc(Link *l)
{
    for (int i = 0; i < 2; i++) {
        Flow *f = &l->flow[i];
        flow_forget(f);
        flow_drop(f);
        Py_XDECREF(f->hook);
        if (f->assembly) Py_XDECREF(f->assembly->inflate);
        free(f->assembly);
        free(f->own);
    }
    Py_XDECREF(l->handler);
    Py_XDECREF(l->plane);
    PyTypeObject *type = Py_TYPE(l);
    type->tp_free(l);
    Py_DECREF(type);
}

static PyMethodDef link_methods[] = {
    {"start", (PyCFunction)link_start, METH_VARARGS, start_doc},
    {"write", (PyCFunction)link_write, METH_VARARGS, write_doc},
    {"inject", (PyCFunction)link_inject, METH_VARARGS, inject_doc},
    {"mute", (PyCFunction)link_mute, METH_VARARGS, mute_doc},
    {"closeWith", (PyCFunction)link_closeWith, METH_VARARGS, closeWith_doc},
    {"finish", (PyCFunction)link_finish, METH_O, finish_doc},
    {"hold", (PyCFunction)link_hold, METH_O, hold_doc},
    {"release", (PyCFunction)link_release, METH_O, release_doc},
    {"silence", (PyCFunction)link_silence, METH_O, silence_doc},
    {"retire", (PyCFunction)link_retire, METH_O, retire_doc},
    {"outOfStep", (PyCFunction)link_outOfStep, METH_O, outOfStep_doc},
    {"mayForward", (PyCFunction)link_mayForward, METH_O, mayForward_doc},
    {"isMute", (PyCFunction)link_isMute, METH_O, isMute_doc},
    {"counts", (PyCFunction)link_counts, METH_O, counts_doc},
    {"close", (PyCFunction)link_close, METH_NOARGS, close_doc},
    {"abort", (PyCFunction)link_abort, METH_NOARGS, abort_doc},
    {"idleFor", (PyCFunction)link_idle, METH_NOARGS, idle_doc},
    {NULL, NULL, 0, NULL},
};
static PyType_Slot link_slots[] = {
    {Py_tp_dealloc, link_dealloc},
    {Py_tp_methods, link_methods},
    {Py_tp_doc, "Two joined sockets; made by Plane.link()."},
    {0, NULL},
};
PyType_Spec link_spec = {
    .name = "wsrelay.plane._native.Link",
    .basicsize = sizeof(Link),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = link_slots,
};
