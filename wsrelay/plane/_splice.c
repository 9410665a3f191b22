/* Bytes go through the kernel: from a socket into a pipe, from the pipe into the other socket,
 * and are never copied. How much may go this way is the level's business.
 *
 * A flow has a pipe only while something is in it; what is in it is ahead of all else that waits.
 * Of those that are empty the plane keeps one, for whoever is next. It has another one for
 * looking at what a flow's pipe holds: there a duplicate (tee(2), which copies no byte either) is
 * read and skipped.
 */
#include "_native.h"

#include <fcntl.h>
#include <unistd.h>

#define POOR (16 * 1024) /* less than that at once is not bulk */
#define STAYS 4          /* what f->full is then: two poor ones in a row are not the end */

static void pipe_close(int *pipe)
{
    if (pipe[0] < 0) return;
    close(pipe[0]);
    close(pipe[1]);
    pipe[0] = pipe[1] = -1;
}

static void pipe_move(int *to, int *from)
{
    memcpy(to, from, 2 * sizeof *to);
    from[0] = from[1] = -1;
}

/* 0, or -1: there is none to be had. All hold the same; who has many is not given that. */
static int pipe_open(int *to)
{
    int made[2];
    if (to[0] >= 0) return 0;
    if (pipe2(made, O_NONBLOCK | O_CLOEXEC)) return -1;
    if (fcntl(made[0], F_SETPIPE_SZ, PIPE_SIZE) < 0) {
        pipe_close(made);
        return -1;
    }
    pipe_move(to, made);
    return 0;
}

static int pipe_take(Flow *f)
{
    Plane *p = f->source->link->plane;
    if (f->pipe[0] < 0 && p->spare[0] >= 0) pipe_move(f->pipe, p->spare);
    return pipe_open(f->pipe);
}

/* All that is to leave it has left. */
static void pipe_give(Flow *f)
{
    Plane *p = f->source->link->plane;
    if (f->piped || f->pipe[0] < 0) return;
    if (p->spare[0] < 0 && !f->spoilt)
        pipe_move(p->spare, f->pipe);
    else
        pipe_close(f->pipe);
    f->spoilt = 0;
}

void pipe_drop(Flow *f)
{
    pipe_close(f->pipe);
    f->piped = 0;
    f->spoilt = 0;
}

void plane_drop_pipes(Plane *p)
{
    pipe_close(p->spare);
    pipe_close(p->look);
    if (p->null >= 0) close(p->null);
}

/* As splice(2), and not interrupted. */
static ssize_t pipe_splice(int from, int to, size_t most)
{
    ssize_t n;
    do n = splice(from, NULL, to, NULL, most, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
    while (n < 0 && errno == EINTR);
    return n;
}

int flow_may_splice(const Flow *f)
{
    return f->full >= SPLICE_AFTER && !f->hook && !f->mute && !f->silent && !f->source->ssl &&
           !f->sink->ssl && f->sink->fd >= 0 && !buffer_length(&f->in);
}

ssize_t pipe_fill(Flow *f, size_t most)
{
    Plane *p = f->source->link->plane;
    ssize_t n = pipe_take(f) ? 0 : pipe_splice(f->source->fd, f->pipe[1], most);
    if (n > 0) {
        f->piped += (size_t)n;
        f->bytes += (uint64_t)n;
        f->source->link->active = p->now;
        p->budget -= n;
        if (n >= POOR || (size_t)n == most)
            f->full = STAYS;
        else
            f->full--;
        return n;
    }
    const int error = n < 0 ? errno : EINVAL;
    pipe_give(f);
    if (error == EAGAIN) return 0;
    f->full = 0;
    if (error != EINVAL) side_close(f->source, error); /* EINVAL: this kind does not splice */
    return -1;
}

int pipe_flush(Flow *f)
{
    while (f->piped) {
        ssize_t n = pipe_splice(f->pipe[0], f->sink->fd, f->piped);
        if (n <= 0) {
            if (n < 0 && errno != EAGAIN) flow_fail(f, errno);
            return 0;
        }
        f->piped -= (size_t)n;
    }
    pipe_give(f);
    return 1;
}

int look_prepare(Plane *p)
{
    if (pipe_open(p->look)) return -1;
    if (p->null < 0) p->null = open("/dev/null", O_WRONLY | O_CLOEXEC);
    return p->null < 0 ? -1 : 0;
}

int look_begin(Flow *f)
{
    const Plane *p = f->source->link->plane;
    ssize_t n;
    do n = tee(f->pipe[0], p->look[1], f->piped, SPLICE_F_NONBLOCK);
    while (n < 0 && errno == EINTR);
    return n == (ssize_t)f->piped ? 0 : -1;
}

int look_read(Plane *p, uint8_t *to, size_t n)
{
    while (n) {
        ssize_t k = read(p->look[0], to, n);
        if (k < 0 && errno == EINTR) continue;
        if (k <= 0) return -1;
        to += k;
        n -= (size_t)k;
    }
    return 0;
}

int look_skip(Plane *p, size_t n)
{
    while (n) {
        ssize_t k = pipe_splice(p->look[0], p->null, n);
        if (k <= 0) return -1;
        n -= (size_t)k;
    }
    return 0;
}

void look_fail(Flow *f)
{
    pipe_close(f->source->link->plane->look);
    side_close(f->source, EIO);
}
