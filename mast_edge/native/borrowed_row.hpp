// A row of numbers that Python hands over, looked at without a copy.
//
// numpy's buffer protocol takes 0.1 us per array, as long as a quarter of a decision. The head of its array object has
// had one layout since numpy 1.0; it is read here directly, as pybind11 does, after it has been held against what numpy
// itself says of an array. Everything else that has a buffer goes through the protocol.
#pragma once

#include <nanobind/nanobind.h>

#include <cstdint>
#include <cstring>

namespace mast_edge {

// The head of PyArrayObject and of PyArray_Descr (numpy/ndarraytypes.h).
struct NumpyArray {
    PyObject_HEAD
    char *data;
    int n_dims;
    Py_ssize_t *shape, *strides;
    PyObject *base;
    struct Type {
        PyObject_HEAD
        PyTypeObject *scalar;
        char kind, code, byte_order, flags;
        int number;
    } *type;
    int flags;
};
constexpr int kNumpyContiguous = 0x1, kNumpyAligned = 0x100;

// numpy's array type if its objects look as above; null otherwise. Called with the interpreter held.
inline PyTypeObject *probed_numpy_type() {
    namespace nb = nanobind;
    try {
        const nb::module_ numpy = nb::module_::import_("numpy");
        const nb::object sample = numpy.attr("zeros")(nb::make_tuple(3), "float32");
        const auto *seen = reinterpret_cast<const NumpyArray *>(sample.ptr());
        const nb::object address = nb::object(sample.attr("ctypes").attr("data"));
        const bool fits = nb::cast<std::uintptr_t>(address) == reinterpret_cast<std::uintptr_t>(seen->data) &&
                          seen->n_dims == 1 && seen->shape[0] == 3 && seen->strides[0] == 4 &&
                          (seen->flags & kNumpyContiguous) && (seen->flags & kNumpyAligned) &&
                          seen->type->code == 'f' && seen->type->kind == 'f' && seen->type->byte_order == '=';
        return fits ? reinterpret_cast<PyTypeObject *>(numpy.attr("ndarray").ptr()) : nullptr;
    } catch (const nb::python_error &) {
        return nullptr;
    }
}

// n items of one of the given one-letter formats (numpy's type codes and struct's agree on "f", "?" and "B"),
// contiguous, aligned, borrowed while this lives; null when it is anything else.
class BorrowedRow {
  public:
    BorrowedRow(nanobind::handle source, Py_ssize_t n, const char *formats) {
        static PyTypeObject *const numpy_type = probed_numpy_type();
        if (Py_TYPE(source.ptr()) == numpy_type) {
            const auto *array = reinterpret_cast<const NumpyArray *>(source.ptr());
            constexpr int plain = kNumpyContiguous | kNumpyAligned;
            const char order = array->type->byte_order;
            if (array->n_dims == 1 && array->shape[0] == n && (array->flags & plain) == plain &&
                (order == '=' || order == '|') && std::strchr(formats, array->type->code))
                data = array->data;
            return;
        }
        held_ = PyObject_GetBuffer(source.ptr(), &view_, PyBUF_FORMAT | PyBUF_ND) == 0;
        if (!held_) {
            PyErr_Clear();
            return;
        }
        const char *format = view_.format ? view_.format : "B";
        const bool fits = view_.ndim == 1 && view_.shape[0] == n && format[0] && !format[1] &&
                          std::strchr(formats, format[0]) &&
                          reinterpret_cast<std::uintptr_t>(view_.buf) % view_.itemsize == 0;
        if (fits) data = view_.buf;
    }
    ~BorrowedRow() {
        if (held_) PyBuffer_Release(&view_);
    }
    BorrowedRow(const BorrowedRow &) = delete;
    BorrowedRow &operator=(const BorrowedRow &) = delete;
    const void *data = nullptr;

  private:
    Py_buffer view_{};
    bool held_ = false;
};

}  // namespace mast_edge
