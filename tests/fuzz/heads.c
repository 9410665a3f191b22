/* Fuzzes wsrelay/wire/_heads.c in an embedded Python.
 *
 * The first byte of an input says how many fields a head may have (bits 0-3) and how many bytes
 * (bits 4-7, in eighths of what is there). The rest is what came. reader.py reads it with the
 * extension and without: both must give the same, or the same error; and what can be written
 * again is written the same. At the end no memory is left (looked for now and then).
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <sanitizer/lsan_interface.h>

#define CHECK(condition)                                                            \
    do {                                                                            \
        if (!(condition)) {                                                         \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition); \
            if (PyErr_Occurred()) PyErr_Print();                                    \
            abort();                                                                \
        }                                                                           \
    } while (0)

enum { LEAKS = 8192 };

PyMODINIT_FUNC PyInit__heads(void);

/* What reads; made at the first input. */
static PyObject *start_python(void)
{
    PyPreConfig before;
    PyPreConfig_InitPythonConfig(&before);
    before.allocator = PYMEM_ALLOCATOR_MALLOC; /* each object is a block of the sanitizer's */
    CHECK(!PyStatus_Exception(Py_PreInitialize(&before)));
    CHECK(!PyImport_AppendInittab("wsrelay.wire._heads", PyInit__heads));
    PyConfig config;
    PyConfig_InitPythonConfig(&config);
    config.install_signal_handlers = 0;
    config.parse_argv = 0;
    CHECK(!PyStatus_Exception(PyConfig_SetBytesString(&config, &config.executable, PYTHON)));
    CHECK(!PyStatus_Exception(Py_InitializeFromConfig(&config)));
    PyConfig_Clear(&config);
    CHECK(!PyRun_SimpleString("import sys; sys.path.insert(0, '" ROOT "')"));
    PyObject *module = PyImport_ImportModule("tests.fuzz.reader");
    CHECK(module);
    PyObject *read = PyObject_GetAttrString(module, "read");
    CHECK(read);
    Py_DECREF(module);
    return read;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static PyObject *read;
    static unsigned inputs;
    if (!read) {
        __lsan_disable(); /* what modules keep for ever */
        read = start_python();
        __lsan_enable();
    }
    if (!size) return 0;
    const unsigned how = data[0];
    PyObject *answer = PyObject_CallFunction(read, "y#nn", (const char *)data + 1,
                                             (Py_ssize_t)size - 1, (Py_ssize_t)(how >> 4),
                                             (Py_ssize_t)(how & 15));
    CHECK(answer);
    Py_DECREF(answer);
    if (++inputs % LEAKS == 0) {
        PyGC_Collect();
        CHECK(!__lsan_do_recoverable_leak_check());
    }
    return 0;
}
