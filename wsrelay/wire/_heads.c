/* The common heads, fast. What a head is stands in heads.py, which is the reference: begin there.
 *
 * Each function gives what the Python would give for the same bytes, or None: for what is wrong,
 * for what is rare (a target in another form, an IPv6 address as Host, Expect), in any doubt. Then
 * the Python looks at it, and only the Python says what is wrong with a head.
 *
 * A Head is a place in the bytes and their end, which is looked at before each byte. What is read
 * is behind the place: nothing goes back, so all of it takes time linear in the head.
 *
 * Inside, a function that cannot go on gives 0 or NULL, with an exception set (no memory) or
 * without (None). Who frees what: read_head() what its Head owns, answer() what it is given,
 * everybody else what he has made himself. There is no static state. The module's is made at its
 * import and then only read: peers cannot add to it.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdint.h>
#include <string.h>

/* What a byte may be part of: the grammar of heads.py. */
enum { NAME = 1, METHOD = 2, TARGET = 4, INLINE = 8, BLANK = 16, LABEL = 32 };

#define DIGITS "0123456789"
#define CAPITALS "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define SMALL "abcdefghijklmnopqrstuvwxyz"
#define SYMBOLS "!#$%&'*+-.^_`|~"

enum { MAX_HOST = 260, LARGE = 1 << 30, SLOTS = 256 };

/* Names that stand in almost every head. They are made once, as they are usually written and in
 * lower case: most names of a head cost no memory, and have their hash already. */
static const char *const NAMES[] = {
    "Accept", "Accept-Encoding", "Accept-Language", "Accept-Ranges", "Age", "Allow", "Alt-Svc",
    "Authorization", "Cache-Control", "Connection", "Content-Disposition", "Content-Encoding",
    "Content-Language", "Content-Length", "Content-Location", "Content-Range",
    "Content-Security-Policy", "Content-Type", "Cookie", "DNT", "Date", "ETag", "Expect",
    "Expires", "Forwarded", "Host", "If-Match", "If-Modified-Since", "If-None-Match", "If-Range",
    "If-Unmodified-Since", "Keep-Alive", "Last-Modified", "Link", "Location", "Origin", "Pragma",
    "Priority", "Range", "Referer", "Retry-After", "Sec-Fetch-Dest", "Sec-Fetch-Mode",
    "Sec-Fetch-Site", "Sec-Fetch-User", "Sec-WebSocket-Accept", "Sec-WebSocket-Extensions",
    "Sec-WebSocket-Key", "Sec-WebSocket-Protocol", "Sec-WebSocket-Version", "Server",
    "Set-Cookie", "Strict-Transport-Security", "TE", "Trailer", "Transfer-Encoding", "Upgrade",
    "Upgrade-Insecure-Requests", "User-Agent", "Vary", "Via", "WWW-Authenticate",
    "X-Content-Type-Options", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Port",
    "X-Forwarded-Proto", "X-Frame-Options", "X-Powered-By", "X-Real-IP", "X-Request-ID",
};

typedef struct {
    PyObject *written, *lower; /* NULL where there is none */
} Known;

/* The module's. */
typedef struct {
    uint8_t kinds[256];
    Known known[SLOTS];
    PyObject *host, *expect; /* borrowed from known */
    PyObject *version[2];    /* (1, 0) and (1, 1) */
} State;

/* A head while it is read. */
typedef struct {
    const State *state;
    const uint8_t *at, *end;  /* what is still to be read */
    PyObject *fields, *index; /* owned; NULL before read_fields() */
    PyObject *host;           /* the value of the last Host, borrowed from fields */
    int hosts, expects;       /* how many there are */
} Head;

/* ------------------------------------------------------------------------ bytes */

static uint8_t lower_case(uint8_t c) { return c >= 'A' && c <= 'Z' ? c | 0x20 : c; }

/* How many bytes of this kind come next; they are read. */
static Py_ssize_t skip(Head *h, int kind)
{
    const uint8_t *at = h->at;
    while (at < h->end && h->state->kinds[*at] & kind) at++;
    Py_ssize_t size = at - h->at;
    h->at = at;
    return size;
}

/* Whether this comes next; if so, it is read. */
static int take(Head *h, const char *text)
{
    const size_t size = strlen(text);
    if ((size_t)(h->end - h->at) < size || memcmp(h->at, text, size)) return 0;
    h->at += size;
    return 1;
}

/* The minor version behind "HTTP/1.", or -1. */
static int take_version(Head *h)
{
    if (!take(h, "HTTP/1.")) return -1;
    return take(h, "1") ? 1 : take(h, "0") ? 0 : -1;
}

static PyObject *bytes_between(const uint8_t *start, const uint8_t *end)
{
    return PyBytes_FromStringAndSize((const char *)start, end - start);
}

/* ------------------------------------------------------------------------ names */

/* Where a name is looked for first, in whatever case it is written. */
static unsigned slot(const uint8_t *name, Py_ssize_t size)
{
    unsigned hash = 0;
    for (Py_ssize_t i = 0; i < size; i++) hash = hash * 31 + (name[i] | 0x20);
    return hash % SLOTS;
}

static const Known *find_known(const State *s, const uint8_t *name, Py_ssize_t size)
{
    for (unsigned i = slot(name, size);; i = (i + 1) % SLOTS) {
        const Known *k = &s->known[i];
        if (!k->lower) return NULL; /* at the latest in the empty half */
        if (PyBytes_GET_SIZE(k->lower) != size) continue;
        const char *lower = PyBytes_AS_STRING(k->lower);
        Py_ssize_t same = 0;
        while (same < size && lower_case(name[same]) == (uint8_t)lower[same]) same++;
        if (same == size) return k;
    }
}

/* The name in lower case. NULL: an exception. */
static PyObject *make_lower(const uint8_t *name, Py_ssize_t size)
{
    PyObject *lower = PyBytes_FromStringAndSize(NULL, size);
    if (!lower) return NULL;
    char *to = PyBytes_AS_STRING(lower);
    for (Py_ssize_t i = 0; i < size; i++) to[i] = (char)lower_case(name[i]);
    return lower;
}

/* The two forms of a name, for the caller to release. 0: an exception. */
static int make_name(const State *s, const uint8_t *name, Py_ssize_t size, Known *made)
{
    const Known *k = find_known(s, name, size);
    made->lower = k ? Py_NewRef(k->lower) : make_lower(name, size);
    if (k && !memcmp(name, PyBytes_AS_STRING(k->written), (size_t)size))
        made->written = Py_NewRef(k->written);
    else if (k && !memcmp(name, PyBytes_AS_STRING(k->lower), (size_t)size))
        made->written = Py_NewRef(k->lower);
    else
        made->written = bytes_between(name, name + size);
    return made->lower && made->written;
}

/* ------------------------------------------------------------------------ fields */

/* Put a field, which has been read, in its place. 0: an exception. */
static int put_field(Head *h, Py_ssize_t place, const Known *name, PyObject *value)
{
    PyObject *pair = PyTuple_Pack(2, name->written, value);
    if (!pair) return 0;
    PyTuple_SET_ITEM(h->fields, place, pair);
    if (name->lower == h->state->host) {
        h->host = value;
        h->hosts++;
    }
    h->expects += name->lower == h->state->expect;
    return PyDict_SetItem(h->index, name->lower, value) == 0;
}

/* One line. */
static int read_field(Head *h, Py_ssize_t place)
{
    const uint8_t *name = h->at;
    const Py_ssize_t size = skip(h, NAME);
    if (!size || !take(h, ":")) return 0;
    skip(h, BLANK);
    const uint8_t *value = h->at, *end = value + skip(h, INLINE);
    if (!take(h, "\r\n")) return 0;
    while (end > value && (end[-1] == ' ' || end[-1] == '\t')) end--;
    Known made = {NULL, NULL};
    PyObject *content = bytes_between(value, end);
    int done = content && make_name(h->state, name, size, &made) &&
               put_field(h, place, &made, content);
    Py_XDECREF(content);
    Py_XDECREF(made.written);
    Py_XDECREF(made.lower);
    return done;
}

/* All fields, the empty line, and the end. */
static int read_fields(Head *h, Py_ssize_t most)
{
    Py_ssize_t lines = 0;
    for (const uint8_t *at = h->at; at < h->end; lines++) {
        at = memchr(at, '\n', (size_t)(h->end - at));
        if (!at++) return 0;
    }
    if (lines < 1 || lines - 1 > most) return 0;
    h->fields = PyTuple_New(lines - 1);
    h->index = PyDict_New();
    if (!h->fields || !h->index) return 0;
    for (Py_ssize_t i = 0; i < lines - 1; i++)
        if (!read_field(h, i)) return 0;
    return take(h, "\r\n") && h->at == h->end;
}

/* ------------------------------------------------------------------------ heads */

/* A name or an IPv4 address, maybe with a port. */
static int is_host(const State *s, const uint8_t *p, Py_ssize_t size)
{
    const uint8_t *at = p, *end = p + size;
    if (size > MAX_HOST) return 0;
    for (int in_label = 0; at < end && *at != ':'; at++) {
        if (!(s->kinds[*at] & LABEL) && !(*at == '.' && in_label)) return 0;
        in_label = *at != '.';
    }
    if (at == p || at == end) return at > p;
    const uint8_t *digits = ++at;
    unsigned port = 0;
    for (; at < end; at++) {
        if (*at < '0' || *at > '9' || at - digits == 5) return 0;
        port = port * 10 + (*at - '0');
    }
    return at > digits && *digits != '0' && port < 65536;
}

/* The answer; first and second are released here, whatever comes of it. */
static PyObject *answer(const Head *h, PyObject *first, PyObject *second, int minor)
{
    PyObject *made = NULL;
    if (first && second)
        made = PyTuple_Pack(5, first, second, h->state->version[minor], h->fields, h->index);
    Py_XDECREF(first);
    Py_XDECREF(second);
    return made;
}

static PyObject *read_request(Head *h, Py_ssize_t most)
{
    const char *method = (const char *)h->at;
    const Py_ssize_t method_size = skip(h, METHOD);
    if (!method_size || !take(h, " ")) return NULL;
    if (method_size == 7 && !memcmp(method, "CONNECT", 7)) return NULL;
    const char *target = (const char *)h->at;
    const Py_ssize_t target_size = skip(h, TARGET);
    if (!target_size || target[0] != '/' || !take(h, " ")) return NULL;
    const int minor = take_version(h);
    if (minor < 0 || !take(h, "\r\n") || !read_fields(h, most)) return NULL;
    if (h->expects || h->hosts > 1 || h->hosts < minor) return NULL;
    if (h->hosts && !is_host(h->state, (const uint8_t *)PyBytes_AS_STRING(h->host),
                             PyBytes_GET_SIZE(h->host)))
        return NULL;
    return answer(h, PyUnicode_DecodeASCII(method, method_size, NULL),
                  PyUnicode_DecodeASCII(target, target_size, NULL), minor);
}

static PyObject *read_response(Head *h, Py_ssize_t most)
{
    const int minor = take_version(h);
    if (minor < 0 || !take(h, " ")) return NULL;
    long status = 0;
    for (int i = 0; i < 3; i++, h->at++) {
        if (h->at == h->end || *h->at < '0' || *h->at > '9') return NULL;
        status = status * 10 + (*h->at - '0');
    }
    if (status < 100 || status > 599) return NULL;
    /* The space before an empty reason may be missing. */
    const int has_reason = take(h, " ");
    const char *reason = (const char *)h->at;
    const Py_ssize_t size = has_reason ? skip(h, INLINE) : 0;
    if (!take(h, "\r\n") || !read_fields(h, most)) return NULL;
    return answer(h, PyLong_FromLong(status), PyUnicode_DecodeLatin1(reason, size, NULL), minor);
}

/* ------------------------------------------------------------------------ for Python */

static int has_arguments(Py_ssize_t count, Py_ssize_t wanted)
{
    if (count == wanted) return 1;
    PyErr_Format(PyExc_TypeError, "%zd arguments, not %zd", wanted, count);
    return 0;
}

typedef PyObject *(*Reader)(Head *, Py_ssize_t);

static PyObject *read_head(PyObject *module, PyObject *const *args, Py_ssize_t count, Reader read)
{
    if (!has_arguments(count, 2)) return NULL;
    if (!PyBytes_CheckExact(args[0])) Py_RETURN_NONE;
    const Py_ssize_t most = PyLong_AsSsize_t(args[1]);
    if (most == -1 && PyErr_Occurred()) return NULL;
    Head h = {.state = PyModule_GetState(module)};
    h.at = (const uint8_t *)PyBytes_AS_STRING(args[0]);
    h.end = h.at + PyBytes_GET_SIZE(args[0]);
    PyObject *made = read(&h, most);
    Py_XDECREF(h.fields);
    Py_XDECREF(h.index);
    if (!made && !PyErr_Occurred()) Py_RETURN_NONE;
    return made;
}

PyDoc_STRVAR(request_doc,
             "request(head, maxHeaders, /)\n--\n\n"
             "(method, target, version, fields, index) of a request head, or None.");
static PyObject *heads_request(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    return read_head(module, args, count, read_request);
}

PyDoc_STRVAR(response_doc,
             "response(head, maxHeaders, /)\n--\n\n"
             "(status, reason, version, fields, index) of a response head, or None.");
static PyObject *heads_response(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    return read_head(module, args, count, read_response);
}

PyDoc_STRVAR(cut_doc,
             "cut(data, limit, maxHeaders, /)\n--\n\n"
             "(head, rest) of bytes that begin with a whole head within its limits, or None.\n"
             "What begins with a line end is for those who know what came before.");
static PyObject *heads_cut(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    (void)module;
    if (!has_arguments(count, 3)) return NULL;
    if (!PyBytes_CheckExact(args[0])) Py_RETURN_NONE;
    const Py_ssize_t limit = PyLong_AsSsize_t(args[1]), most = PyLong_AsSsize_t(args[2]);
    if (PyErr_Occurred()) return NULL;
    const char *data = PyBytes_AS_STRING(args[0]), *end = data + PyBytes_GET_SIZE(args[0]);
    Py_ssize_t lines = 0;
    for (const char *at = data; at < end && lines <= most;) {
        at = memchr(at, '\n', (size_t)(end - at));
        if (!at) break;
        at++, lines++;
        const char *behind = at + (at < end && *at == '\r');
        if (behind == end || *behind != '\n') continue;
        behind++;
        if (behind - data > limit) break;
        PyObject *head, *rest = PyBytes_FromStringAndSize(behind, end - behind);
        head = behind == end ? Py_NewRef(args[0]) : PyBytes_FromStringAndSize(data, behind - data);
        PyObject *made = head && rest ? PyTuple_Pack(2, head, rest) : NULL;
        Py_XDECREF(head);
        Py_XDECREF(rest);
        return made;
    }
    Py_RETURN_NONE;
}

/* The bytes that a pair of bytes has in a head; 0 if it is no such pair, or too long. */
static size_t pair_size(PyObject *pair)
{
    if (!PyTuple_CheckExact(pair) || PyTuple_GET_SIZE(pair) != 2) return 0;
    size_t size = 4; /* ": " and the end of the line */
    for (int i = 0; i < 2; i++) {
        PyObject *part = PyTuple_GET_ITEM(pair, i);
        if (!PyBytes_CheckExact(part) || PyBytes_GET_SIZE(part) > LARGE) return 0;
        size += (size_t)PyBytes_GET_SIZE(part);
    }
    return size;
}

static char *put(char *to, PyObject *bytes, const char *behind)
{
    const size_t size = (size_t)PyBytes_GET_SIZE(bytes);
    memcpy(to, PyBytes_AS_STRING(bytes), size);
    memcpy(to + size, behind, 2);
    return to + size + 2;
}

PyDoc_STRVAR(join_doc,
             "join(line, fields, /)\n--\n\n"
             "The head that begins with this line, its line end included; or None.");
static PyObject *heads_join(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    (void)module;
    if (!has_arguments(count, 2)) return NULL;
    PyObject *line = args[0], *fields = args[1];
    if (!PyBytes_CheckExact(line) || PyBytes_GET_SIZE(line) > LARGE) Py_RETURN_NONE;
    if (!PyList_CheckExact(fields) && !PyTuple_CheckExact(fields)) Py_RETURN_NONE;
    const Py_ssize_t number = PySequence_Fast_GET_SIZE(fields);
    PyObject **pairs = PySequence_Fast_ITEMS(fields);
    const size_t line_size = (size_t)PyBytes_GET_SIZE(line);
    size_t size = line_size + 2;
    for (Py_ssize_t i = 0; i < number; i++) {
        const size_t more = pair_size(pairs[i]);
        size += more;
        if (!more || size > LARGE) Py_RETURN_NONE;
    }
    /* No Python runs from here on: the fields stay as they were measured. */
    PyObject *head = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)size);
    if (!head) return NULL;
    char *to = PyBytes_AS_STRING(head);
    memcpy(to, PyBytes_AS_STRING(line), line_size);
    to += line_size;
    for (Py_ssize_t i = 0; i < number; i++) {
        to = put(to, PyTuple_GET_ITEM(pairs[i], 0), ": ");
        to = put(to, PyTuple_GET_ITEM(pairs[i], 1), "\r\n");
    }
    memcpy(to, "\r\n", 2);
    return head;
}

/* ------------------------------------------------------------------------ the module */

static void allow(State *s, int kind, const char *bytes)
{
    for (; *bytes; bytes++) s->kinds[(uint8_t)*bytes] |= (uint8_t)kind;
}

static void make_kinds(State *s)
{
    allow(s, NAME | METHOD, SYMBOLS DIGITS CAPITALS);
    allow(s, NAME | LABEL, SMALL);
    allow(s, LABEL, "-_" DIGITS CAPITALS);
    allow(s, BLANK | INLINE, " \t");
    for (int c = 0x21; c < 0x7F; c++) s->kinds[c] |= c == '#' ? INLINE : INLINE | TARGET;
    for (int c = 0x80; c < 0x100; c++) s->kinds[c] |= INLINE;
}

/* Add a name; the state owns it from then on. 0: an exception. */
static int learn(State *s, const char *name)
{
    const Py_ssize_t size = (Py_ssize_t)strlen(name);
    unsigned i = slot((const uint8_t *)name, size);
    while (s->known[i].lower) i = (i + 1) % SLOTS;
    Known *k = &s->known[i];
    k->written = PyBytes_FromString(name);
    k->lower = make_lower((const uint8_t *)name, size);
    return k->written && k->lower;
}

_Static_assert(2 * sizeof NAMES / sizeof *NAMES <= SLOTS, "half of the slots stay empty");

static int module_exec(PyObject *module)
{
    State *s = PyModule_GetState(module);
    make_kinds(s);
    for (size_t i = 0; i < sizeof NAMES / sizeof *NAMES; i++)
        if (!learn(s, NAMES[i])) return -1;
    s->host = find_known(s, (const uint8_t *)"host", 4)->lower;
    s->expect = find_known(s, (const uint8_t *)"expect", 6)->lower;
    for (int minor = 0; minor < 2; minor++) {
        s->version[minor] = Py_BuildValue("(ii)", 1, minor);
        if (!s->version[minor]) return -1;
    }
    return 0;
}

static void module_free(void *module)
{
    State *s = PyModule_GetState((PyObject *)module);
    if (!s) return;
    for (int i = 0; i < SLOTS; i++) {
        Py_CLEAR(s->known[i].written);
        Py_CLEAR(s->known[i].lower);
    }
    Py_CLEAR(s->version[0]);
    Py_CLEAR(s->version[1]);
}

static PyMethodDef methods[] = {
    {"request", (PyCFunction)(void (*)(void))heads_request, METH_FASTCALL, request_doc},
    {"response", (PyCFunction)(void (*)(void))heads_response, METH_FASTCALL, response_doc},
    {"cut", (PyCFunction)(void (*)(void))heads_cut, METH_FASTCALL, cut_doc},
    {"join", (PyCFunction)(void (*)(void))heads_join, METH_FASTCALL, join_doc},
    {NULL, NULL, 0, NULL},
};
static PyModuleDef_Slot module_slots[] = {
    {Py_mod_exec, module_exec},
    {0, NULL},
};
static struct PyModuleDef module = {
    PyModuleDef_HEAD_INIT,
    .m_name = "_heads",
    .m_doc = "The common heads, fast; see wsrelay.wire.heads.",
    .m_size = sizeof(State),
    .m_methods = methods,
    .m_slots = module_slots,
    .m_free = module_free,
};

PyMODINIT_FUNC PyInit__heads(void) { return PyModuleDef_Init(&module); }
