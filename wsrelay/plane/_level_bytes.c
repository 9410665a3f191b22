/* The level BYTES: opaque bytes, copied, or spliced while they come in bulk. A hook sees chunks as
 * they are read.
 */
#include "_native.h"

void bytes_take(Flow *f, const uint8_t *p, size_t n)
{
    if (!f->hook) {
        if (!f->mute) flow_put(f, p, n);
        return;
    }
    PyObject *chunk = PyBytes_FromStringAndSize((const char *)p, (Py_ssize_t)n);
    PyObject *hook = Py_NewRef(f->hook); /* which may have itself retired */
    PyObject *verdict = chunk ? PyObject_CallOneArg(hook, chunk) : NULL;
    Py_DECREF(hook);
    if (!verdict)
        flow_tell_failure(f);
    else if (verdict == Py_None) {
        if (!f->mute) flow_put(f, p, n);
    } else if (PyBytes_CheckExact(verdict)) {
        if (!f->mute)
            flow_put(f, (uint8_t *)PyBytes_AS_STRING(verdict), (size_t)PyBytes_GET_SIZE(verdict));
    } else {
        link_tell(f->source->link, "decideChunk", "(iOO)", (int)f->index, chunk, verdict);
    }
    Py_XDECREF(verdict);
    Py_XDECREF(chunk);
}

int bytes_splice(Flow *f)
{
    ssize_t n = pipe_fill(f, PIPE_SIZE);
    if (n > 0) pipe_flush(f);
    return n != 0;
}
