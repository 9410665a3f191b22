/* One whole message: inflated, checked, shown to its hook, and what follows from the answer.
 *
 * Three answers are dealt with here, without the handler: None, bytes in place of a message that
 * need not be deflated, and an exception. All others are decided in Python (NativeLink.decide).
 */
#include "_native.h"

/* A model.Message, its two slots filled directly. Steals nothing. */
static PyObject *message_new(Plane *p, PyObject *data, int is_text)
{
    PyTypeObject *type = (PyTypeObject *)p->message_type;
    PyObject *m = type->tp_alloc(type, 0);
    if (!m) return NULL;
    Py_INCREF(data);
    *(PyObject **)((char *)m + p->data_offset) = data;
    PyObject *text = is_text ? Py_True : Py_False;
    Py_INCREF(text);
    *(PyObject **)((char *)m + p->is_text_offset) = text;
    return m;
}

/* The exception that inflating has raised becomes a violation. */
static int inflate_fail(Flow *f)
{
    PyObject *error = NULL, *type, *traceback;
    PyErr_Fetch(&type, &error, &traceback);
    PyErr_NormalizeException(&type, &error, &traceback);
    PyObject *detail = error ? PyObject_Str(error) : NULL;
    const char *words = detail ? PyUnicode_AsUTF8(detail) : NULL;
    if (!words) PyErr_Clear();
    PyObject *code = error ? PyObject_GetAttrString(error, "code") : NULL;
    long number = code ? PyLong_AsLong(code) : 1007;
    ws_violate(&f->rules, (uint16_t)(number > 0 ? number : 1007), words ? words : "");
    PyErr_Clear();
    Py_XDECREF(code);
    Py_XDECREF(detail);
    Py_XDECREF(type);
    Py_XDECREF(error);
    Py_XDECREF(traceback);
    return -1;
}

/* payload, which is stolen, inflated; or NULL: a violation. */
static PyObject *message_inflate(Flow *f, PyObject *payload)
{
    PyObject *inflated = PyObject_CallOneArg(f->assembly->inflate, payload);
    Py_DECREF(payload);
    f->source->link->plane->budget -= CALL;
    if (inflated && PyBytes_Check(inflated)) return inflated;
    Py_XDECREF(inflated);
    inflate_fail(f);
    return NULL;
}

static PyObject *slot_of(PyObject *object, Py_ssize_t offset)
{
    return *(PyObject **)((char *)object + offset);
}

/* Put what a hook has answered about message into the batch, if it is one message: bytes of its
 * type, text, or a Message. 0: it is something else, or no UTF-8, or must be
 * deflated, and Python has to see to it. */
static int message_replace(Flow *f, uint8_t first, PyObject *message, PyObject *verdict)
{
    Assembly *a = f->assembly;
    const Plane *p = f->source->link->plane;
    PyObject *data = verdict;
    if (a->deflates || f->mute) return 0;
    if ((PyObject *)Py_TYPE(verdict) == p->message_type) {
        message = verdict;
        data = slot_of(verdict, p->data_offset);
        if (!data || !PyBytes_CheckExact(data)) return 0;
    }
    PyObject *is_text = slot_of(message, p->is_text_offset);
    if (is_text != Py_True && is_text != Py_False) return 0;
    uint8_t opcode = is_text == Py_True ? OP_TEXT : OP_BINARY;
    const uint8_t *bytes;
    Py_ssize_t n;
    unsigned rest;
    if (PyUnicode_CheckExact(data)) {
        bytes = (const uint8_t *)PyUnicode_AsUTF8AndSize(data, &n);
        if (!bytes) PyErr_Clear(); /* a surrogate */
        opcode = OP_TEXT;
    } else {
        bytes = PyBytes_CheckExact(data) ? (uint8_t *)PyBytes_AS_STRING(data) : NULL;
        n = bytes ? PyBytes_GET_SIZE(data) : 0;
        if (bytes && opcode == OP_TEXT && !ws_is_utf8(bytes, (size_t)n, 1, &rest)) bytes = NULL;
    }
    if (!bytes) return 0;
    if (first & BIT_RSV1) a->in_step = 0;
    batch_run(f);
    batch_frame(f, BIT_FIN | opcode, bytes, (size_t)n);
    return 1;
}

/* Have the handler decide. */
static void message_decide(Flow *f, uint8_t first, PyObject *message, PyObject *payload,
                           PyObject *verdict, const uint8_t *wire, size_t n)
{
    flow_sync(f);
    f->source->link->plane->budget -= CALL;
    link_tell(f->source->link, "decide", "(iOOOy#i)", (int)f->index, message, payload, verdict,
              (const char *)wire, (Py_ssize_t)n, (first & BIT_RSV1) != 0);
    if (!f->mute && buffer_length(&f->opposite->out) > SCRATCH) f->crowded = 1;
}

/* Whether a hook has answered the message itself, and has not touched it. */
static int message_is(const Flow *f, PyObject *verdict, PyObject *message, PyObject *payload,
                      uint8_t first)
{
    const Plane *p = f->source->link->plane;
    PyObject *is_text = (first & 15) == OP_TEXT ? Py_True : Py_False;
    return verdict == message && slot_of(message, p->data_offset) == payload &&
           slot_of(message, p->is_text_offset) == is_text;
}

/* Ask the hook, if there is one, about a message that is checked; as message_ask(), but payload
 * stays the caller's. raw: its frames may go on as they came. */
static int message_show(Flow *f, uint8_t first, int raw, PyObject *payload, const uint8_t *wire,
                        size_t n)
{
    int answer = 0;
    PyObject *message = message_new(f->source->link->plane, payload, (first & 15) == OP_TEXT);
    PyObject *verdict = NULL;
    PyObject *hook = Py_XNewRef(f->hook); /* the session may end while it is called */
    if (message) verdict = hook ? PyObject_CallOneArg(hook, message) : Py_NewRef(Py_None);
    Py_XDECREF(hook);
    f->source->link->plane->budget -= CALL;
    if (!verdict) {
        flow_tell_failure(f);
    } else if (raw && (verdict == Py_None || message_is(f, verdict, message, payload, first))) {
        answer = !f->mute;
    } else if (!message_replace(f, first, message, verdict)) {
        message_decide(f, first, message, payload, verdict, wire, n);
    }
    Py_XDECREF(verdict);
    Py_XDECREF(message);
    return answer;
}

int message_ask(Flow *f, uint8_t first, PyObject *payload, const uint8_t *wire, size_t n)
{
    const Assembly *a = f->assembly;
    const int compressed = (first & BIT_RSV1) != 0;
    unsigned rest;
    if (compressed && !(payload = message_inflate(f, payload))) return -1;
    int answer = 1;
    const int raw = !compressed || (a->same_coding && (a->in_step || a->afresh));
    if ((first & 15) == OP_TEXT &&
        !ws_is_utf8((uint8_t *)PyBytes_AS_STRING(payload), (size_t)PyBytes_GET_SIZE(payload), 1,
                    &rest))
        answer = ws_violate(&f->rules, 1007, "text that is not UTF-8");
    else if (!f->mute && (f->hook || !raw))
        answer = message_show(f, first, raw, payload, wire, n);
    Py_DECREF(payload);
    return answer;
}
