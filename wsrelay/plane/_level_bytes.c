/* The level BYTES: opaque bytes, copied, or spliced while they come in bulk.
 *
 * A hook sees chunks as they are read. The pipe of a flow that splices is made when the first
 * bulk comes and goes with it or with the sink; what is in it is ahead of all else that waits.
 */
#include "_native.h"

#include <fcntl.h>
#include <unistd.h>

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

void bytes_unpipe(Flow *f)
{
    if (f->pipe[0] < 0) return;
    close(f->pipe[0]);
    close(f->pipe[1]);
    f->pipe[0] = f->pipe[1] = -1;
    f->piped = 0;
}

int bytes_splice(Flow *f)
{
    if (f->pipe[0] < 0) {
        if (pipe2(f->pipe, O_NONBLOCK | O_CLOEXEC)) {
            f->pipe[0] = f->pipe[1] = -1;
            f->full = 0;
            return 1;
        }
        fcntl(f->pipe[0], F_SETPIPE_SZ, PIPE_SIZE);
    }
    ssize_t n = splice(f->source->fd, NULL, f->pipe[1], NULL, PIPE_SIZE,
                       SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
    if (n < 0) {
        if (errno == EAGAIN) return 0;
        if (errno == EINTR) return 1;
        if (errno == EINVAL) { /* this kind of socket does not splice */
            f->full = 0;
            return 1;
        }
        side_close(f->source, errno);
        return -1;
    }
    if (!n) {
        f->ended = 1;
        return -1;
    }
    f->bytes += (uint64_t)n;
    f->source->link->active = f->source->link->plane->now;
    f->piped += (size_t)n;
    f->source->link->plane->budget -= n;
    if (n < 16384) f->full = 0; /* no longer bulk */
    flow_flush(f);
    if (!f->full && !f->piped) bytes_unpipe(f);
    return 1;
}
