/* Takes the attributes of a span off the wire in one pass: the prototype that bench/kernel.py measures.
 *
 * apart(span: bytes) -> (keys, values): texts, whole numbers, floats and truths as such, anything else as the bytes of
 * its AnyValue. Keys come again and again and are made once. Raises ValueError for what is no span.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <string.h>

enum { KEYS = 4096, ATTRIBUTES = 512, KEY_BYTES = 128 };

static struct { uint64_t hash; Py_ssize_t size; PyObject *key; } known[KEYS];

static int varint(const uint8_t **at, const uint8_t *end, uint64_t *value) {
    uint64_t read = 0;
    for (int shift = 0; *at < end && shift < 64; shift += 7) {
        uint8_t byte = *(*at)++;
        read |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80) {
            *value = read;
            return 1;
        }
    }
    return 0;
}

static int sized(const uint8_t **at, const uint8_t *end, uint64_t *size) {
    return varint(at, end, size) && *size <= (uint64_t)(end - *at);
}

static int skip(const uint8_t **at, const uint8_t *end, int type) {
    uint64_t size = type == 1 ? 8 : 4;
    if (type == 0) return varint(at, end, &size);
    if (type == 2 ? !sized(at, end, &size) : (type != 1 && type != 5) || size > (uint64_t)(end - *at)) return 0;
    *at += size;
    return 1;
}

static PyObject *key_of(const uint8_t *at, Py_ssize_t size) {
    uint64_t hash = 1469598103934665603ULL;
    for (Py_ssize_t i = 0; i < size; i++) hash = (hash ^ at[i]) * 1099511628211ULL;
    unsigned slot = (unsigned)((hash ^ (hash >> 32)) % KEYS);
    if (known[slot].key && known[slot].hash == hash && known[slot].size == size &&
        !memcmp(PyUnicode_AsUTF8(known[slot].key), at, (size_t)size))
        return Py_NewRef(known[slot].key);
    PyObject *key = PyUnicode_DecodeUTF8((const char *)at, size, NULL);
    if (key && size < KEY_BYTES) {
        PyUnicode_InternInPlace(&key);
        Py_XSETREF(known[slot].key, Py_NewRef(key));
        known[slot].hash = hash;
        known[slot].size = size;
    }
    return key;
}

static PyObject *value_of(const uint8_t *at, const uint8_t *end) {
    const uint8_t *begin = at;
    PyObject *value = NULL;
    uint64_t tag, number;
    double real;
    while (at < end) {
        if (!varint(&at, end, &tag)) goto bad;
        switch (tag) {
        case 0x0a:
            if (!sized(&at, end, &number)) goto bad;
            Py_XSETREF(value, PyUnicode_DecodeUTF8((const char *)at, (Py_ssize_t)number, NULL));
            at += number;
            if (!value) return NULL;
            break;
        case 0x10:
            if (!varint(&at, end, &number)) goto bad;
            Py_XSETREF(value, PyBool_FromLong(number != 0));
            break;
        case 0x18:
            if (!varint(&at, end, &number)) goto bad;
            Py_XSETREF(value, PyLong_FromLongLong((int64_t)number));
            break;
        case 0x21:
            if (end - at < 8) goto bad;
            memcpy(&real, at, 8);
            at += 8;
            Py_XSETREF(value, PyFloat_FromDouble(real));
            break;
        default:
            Py_XSETREF(value, PyBytes_FromStringAndSize((const char *)begin, end - begin));
            return value;
        }
    }
    return value ? value : Py_NewRef(Py_None);
bad:
    Py_XDECREF(value);
    PyErr_SetString(PyExc_ValueError, "no AnyValue");
    return NULL;
}

static int pair_of(const uint8_t *at, const uint8_t *end, PyObject **key, PyObject **value) {
    uint64_t tag, size;
    while (at < end) {
        if (!varint(&at, end, &tag)) return 0;
        if (tag != 0x0a && tag != 0x12) {
            if (!skip(&at, end, tag & 7)) return 0;
            continue;
        }
        if (!sized(&at, end, &size)) return 0;
        PyObject **field = tag == 0x0a ? key : value;
        Py_XSETREF(*field, tag == 0x0a ? key_of(at, (Py_ssize_t)size) : value_of(at, at + size));
        if (!*field) return 0;
        at += size;
    }
    if (!*key) *key = PyUnicode_FromString("");
    if (!*value) *value = Py_NewRef(Py_None);
    return *key != NULL;
}

static PyObject *apart(PyObject *Py_UNUSED(module), PyObject *span) {
    char *bytes;
    Py_ssize_t length;
    if (PyBytes_AsStringAndSize(span, &bytes, &length)) return NULL;
    const uint8_t *at = (const uint8_t *)bytes, *end = at + length;
    PyObject *keys[ATTRIBUTES], *values[ATTRIBUTES], *all_keys = NULL, *all_values = NULL;
    Py_ssize_t count = 0;
    uint64_t tag, size;
    while (at < end) {
        if (!varint(&at, end, &tag)) goto bad;
        if (tag != 0x4a) {
            if (!skip(&at, end, tag & 7)) goto bad;
            continue;
        }
        if (count == ATTRIBUTES || !sized(&at, end, &size)) goto bad;
        keys[count] = values[count] = NULL;
        count++;
        if (!pair_of(at, at + size, &keys[count - 1], &values[count - 1])) goto bad;
        at += size;
    }
    all_keys = PyTuple_New(count);
    all_values = PyTuple_New(count);
    if (!all_keys || !all_values) goto bad;
    for (Py_ssize_t i = 0; i < count; i++) {
        PyTuple_SET_ITEM(all_keys, i, keys[i]);
        PyTuple_SET_ITEM(all_values, i, values[i]);
    }
    return Py_BuildValue("(NN)", all_keys, all_values);
bad:
    Py_XDECREF(all_keys);
    Py_XDECREF(all_values);
    while (count--) {
        Py_XDECREF(keys[count]);
        Py_XDECREF(values[count]);
    }
    if (!PyErr_Occurred()) PyErr_SetString(PyExc_ValueError, "no span");
    return NULL;
}

static PyMethodDef methods[] = {{"apart", apart, METH_O, NULL}, {NULL, NULL, 0, NULL}};
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "kernel", NULL, -1, methods, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit_kernel(void) { return PyModule_Create(&module); }
