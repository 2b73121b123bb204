// libcudnn.so.9: reductions.
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

#include "device.h"

namespace {

// As cudnn_graph.h and cudnn_ops.h number them.
enum Status { kOk = 0, kBadParameter = 2000, kNotSupported = 3000, kExecutionFailed = 5000 };
enum DataType { kFloat = 0, kDouble = 1, kHalf = 2 };
enum Reduction { kAdd = 0, kMul = 1, kMin = 2, kMax = 3, kAmax = 4, kAverage = 5, kNorm1 = 6, kNorm2 = 7 };

struct Handle {
  emulator::Stream* stream = nullptr;
};

struct Tensor {
  int type = kFloat;
  std::vector<int> dims;
  std::vector<int> strides;
};

double read(const std::byte* bytes, std::int64_t index, int type) {
  if (type == kDouble) return reinterpret_cast<const double*>(bytes)[index];
  if (type == kHalf) return static_cast<double>(reinterpret_cast<const _Float16*>(bytes)[index]);
  return reinterpret_cast<const float*>(bytes)[index];
}

void write(std::byte* bytes, std::int64_t index, int type, double value) {
  if (type == kDouble) {
    reinterpret_cast<double*>(bytes)[index] = value;
  } else if (type == kHalf) {
    reinterpret_cast<_Float16*>(bytes)[index] = static_cast<_Float16>(value);
  } else {
    reinterpret_cast<float*>(bytes)[index] = static_cast<float>(value);
  }
}

double joined(int reduction, double sum, double value) {
  switch (reduction) {
    case kMul:
      return sum * value;
    case kMin:
      return std::fmin(sum, value);
    case kMax:
      return std::fmax(sum, value);
    case kAmax:
      return std::fmax(sum, std::fabs(value));
    case kNorm1:
      return sum + std::fabs(value);
    case kNorm2:
      return sum + value * value;
    default:
      return sum + value;
  }
}

double neutral(int reduction) {
  if (reduction == kMul) return 1;
  if (reduction == kMin) return INFINITY;
  return reduction == kMax ? -INFINITY : 0;
}

// The place of the i-th element of `tensor`'s dims in the strides of `of`, with an index of 0 where `of` has
// one element.
std::int64_t place(const Tensor& tensor, const Tensor& of, std::int64_t i) {
  std::int64_t at = 0;
  for (std::size_t axis = tensor.dims.size(); axis-- > 0;) {
    const std::int64_t index = i % tensor.dims[axis];
    i /= tensor.dims[axis];
    if (of.dims[axis] > 1) at += index * of.strides[axis];
  }
  return at;
}

std::int64_t elements(const Tensor& tensor) {
  std::int64_t count = 1;
  for (const int dim : tensor.dims) count *= dim;
  return count;
}

void reduce(int reduction, double alpha, const Tensor& a, const std::byte* from, double beta, const Tensor& c,
            std::byte* to) {
  const std::int64_t inputs = elements(a);
  const std::int64_t outputs = elements(c);
  std::vector<double> sums(static_cast<std::size_t>(outputs), neutral(reduction));
  Tensor dense = c;  // c's dims, for the place in `sums`
  int stride = 1;
  for (std::size_t axis = dense.dims.size(); axis-- > 0; stride *= dense.dims[axis])
    dense.strides[axis] = stride;
  for (std::int64_t i = 0; i < inputs; ++i) {
    double& sum = sums[static_cast<std::size_t>(place(a, dense, i))];
    sum = joined(reduction, sum, read(from, place(a, a, i), a.type));
  }
  for (std::int64_t i = 0; i < outputs; ++i) {
    double value = sums[static_cast<std::size_t>(i)];
    if (reduction == kAverage) value /= static_cast<double>(inputs / outputs);
    if (reduction == kNorm2) value = std::sqrt(value);
    const std::int64_t at = place(c, c, i);
    write(to, at, c.type, alpha * value + (beta == 0 ? 0 : beta * read(to, at, c.type)));
  }
}

}  // namespace

#define ENTER(name) \
  if (emulator::enter(name) != 0) return kExecutionFailed

extern "C" {
#pragma GCC visibility push(default)

std::size_t cudnnGetVersion() { return 91400; }
const char* cudnnGetErrorString(Status status) {
  return status == kOk ? "CUDNN_STATUS_SUCCESS" : "CUDNN_STATUS_EXECUTION_FAILED";
}
void cudnnGetLastErrorString(char* text, std::size_t length) {
  if (length > 0) *text = '\0';
}

Status cudnnCreate(Handle** handle) {
  ENTER("cudnnCreate");
  *handle = new Handle{&emulator::default_stream()};
  return kOk;
}
Status cudnnDestroy(Handle* handle) {
  delete handle;
  return kOk;
}
Status cudnnSetStream(Handle* handle, emulator::Stream* stream) {
  handle->stream = stream == nullptr ? &emulator::default_stream() : stream;
  return kOk;
}
Status cudnnGetStream(Handle* handle, emulator::Stream** stream) {
  *stream = handle->stream;
  return kOk;
}

Status cudnnCreateTensorDescriptor(Tensor** tensor) {
  *tensor = new Tensor;
  return kOk;
}
Status cudnnDestroyTensorDescriptor(Tensor* tensor) {
  delete tensor;
  return kOk;
}
Status cudnnSetTensorNdDescriptor(Tensor* tensor, int type, int rank, const int* dims, const int* strides) {
  *tensor = {type, {dims, dims + rank}, {strides, strides + rank}};
  return type <= kHalf ? kOk : kNotSupported;
}

Status cudnnCreateReduceTensorDescriptor(int** reduction) {
  *reduction = new int(kAdd);
  return kOk;
}
Status cudnnDestroyReduceTensorDescriptor(int* reduction) {
  delete reduction;
  return kOk;
}
Status cudnnSetReduceTensorDescriptor(int* reduction, int operation, int, int, int indices, int) {
  *reduction = operation;
  return indices == 0 && operation <= kNorm2 ? kOk : kNotSupported;
}
Status cudnnGetReductionWorkspaceSize(Handle*, int*, Tensor*, Tensor*, std::size_t* bytes) {
  *bytes = 256;
  return kOk;
}
Status cudnnGetReductionIndicesSize(Handle*, int*, Tensor*, Tensor*, std::size_t* bytes) {
  *bytes = 0;
  return kOk;
}
Status cudnnReduceTensor(Handle* handle, const int* reduction, void*, std::size_t, void*, std::size_t,
                         const void* alpha, const Tensor* a, const void* from, const void* beta,
                         const Tensor* c, void* to) {
  ENTER("cudnnReduceTensor");
  if (a->dims.size() != c->dims.size()) return kBadParameter;
  // The factors are floats unless the tensors are doubles.
  const int factors = a->type == kDouble ? kDouble : kFloat;
  const double by = read(static_cast<const std::byte*>(alpha), 0, factors);
  const double plus = read(static_cast<const std::byte*>(beta), 0, factors);
  const auto work = [=, operation = *reduction, a = *a, c = *c] {
    reduce(operation, by, a, emulator::bytes_at(from), plus, c, emulator::bytes_at(to));
  };
  return handle->stream->enqueue("kernel", work) == emulator::kSuccess ? kOk : kExecutionFailed;
}

#pragma GCC visibility pop
}
