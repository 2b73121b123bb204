// libcublas.so.13: matrix products, of what ONNX Runtime's CUDA provider asks for. The rest is not supported.
#include <algorithm>
#include <cstdint>
#include <vector>

#include "device.h"

namespace {

// As cublas_api.h and library_types.h number them.
enum Status { kOk = 0, kExecutionFailed = 13, kNotSupported = 15 };
enum DataType { kFloat = 0, kHalf = 2 };
enum ComputeType { kCompute16 = 64, kCompute16Pedantic = 65 };
enum Operation { kNone = 0 };

struct Handle {
  emulator::Stream* stream = nullptr;
  int math_mode = 0;
};

struct Matrix {
  const void* data;
  int type;
  int leading;
  std::int64_t stride;
};

struct Product {
  int a_op, b_op, m, n, k;
  double alpha;
  Matrix a, b;
  double beta;
  Matrix c;
};

// c = alpha a b + beta c, by columns, of the `i`-th matrices. Sums in double: more exact than a GPU's.
template <typename T>
void multiply_one(const Product& p, std::int64_t i) {
  const T* const a = emulator::at<T>(p.a.data) + i * p.a.stride;
  const T* const b = emulator::at<T>(p.b.data) + i * p.b.stride;
  T* const c = emulator::at<T>(p.c.data) + i * p.c.stride;
  std::vector<double> sums(static_cast<std::size_t>(p.m));
  for (std::int64_t column = 0; column < p.n; ++column) {
    std::fill(sums.begin(), sums.end(), 0.0);
    for (std::int64_t at = 0; at < p.k; ++at) {
      const auto factor =
          static_cast<double>(p.b_op == kNone ? b[at + column * p.b.leading] : b[column + at * p.b.leading]);
      const T* const from = p.a_op == kNone ? a + at * p.a.leading : a + at;
      const std::int64_t step = p.a_op == kNone ? 1 : p.a.leading;
      for (int row = 0; row < p.m; ++row) {
        sums[static_cast<std::size_t>(row)] += factor * static_cast<double>(from[row * step]);
      }
    }
    T* const to = c + column * p.c.leading;
    for (int row = 0; row < p.m; ++row) {
      const double before = p.beta == 0 ? 0 : p.beta * static_cast<double>(to[row]);
      to[row] = static_cast<T>(p.alpha * sums[static_cast<std::size_t>(row)] + before);
    }
  }
}

// `count` products of matrices of one type.
Status multiply(Handle* handle, const Product& product, int count) {
  const int type = product.c.type;
  if (product.a.type != type || product.b.type != type || (type != kFloat && type != kHalf))
    return kNotSupported;
  const auto one = type == kFloat ? multiply_one<float> : multiply_one<_Float16>;
  const auto work = [=] {
    for (int i = 0; i < count; ++i) one(product, i);
  };
  return handle->stream->enqueue("kernel", work) == emulator::kSuccess ? kOk : kExecutionFailed;
}

double scalar(const void* value, int compute) {
  const bool half = compute == kCompute16 || compute == kCompute16Pedantic;
  return half ? static_cast<double>(*static_cast<const _Float16*>(value)) : *static_cast<const float*>(value);
}

Status entered(const char* function) { return emulator::enter(function) == 0 ? kOk : kExecutionFailed; }

}  // namespace

#define ENTER(name) \
  if (const Status status_ = entered(name); status_ != kOk) return status_
#define UNSUPPORTED(name) \
  Status name() { return emulator::enter(#name), kNotSupported; }

extern "C" {
#pragma GCC visibility push(default)

Status cublasCreate_v2(Handle** handle) {
  ENTER("cublasCreate");
  *handle = new Handle{&emulator::default_stream()};
  return kOk;
}
Status cublasDestroy_v2(Handle* handle) {
  delete handle;
  return kOk;
}
Status cublasSetStream_v2(Handle* handle, emulator::Stream* stream) {
  handle->stream = &emulator::stream_or_default(stream);
  return kOk;
}
Status cublasSetMathMode(Handle* handle, int mode) {
  handle->math_mode = mode;
  return kOk;
}
Status cublasGetMathMode(Handle* handle, int* mode) {
  *mode = handle->math_mode;
  return kOk;
}
const char* cublasGetStatusName(Status status) {
  return status == kOk             ? "CUBLAS_STATUS_SUCCESS"
         : status == kNotSupported ? "CUBLAS_STATUS_NOT_SUPPORTED"
                                   : "CUBLAS_STATUS_EXECUTION_FAILED";
}
const char* cublasGetStatusString(Status status) { return cublasGetStatusName(status); }

Status cublasSgemm_v2(Handle* handle, int a_op, int b_op, int m, int n, int k, const float* alpha,
                      const float* a, int lda, const float* b, int ldb, const float* beta, float* c,
                      int ldc) {
  ENTER("cublasSgemm");
  return multiply(
      handle,
      {a_op, b_op, m, n, k, *alpha, {a, kFloat, lda, 0}, {b, kFloat, ldb, 0}, *beta, {c, kFloat, ldc, 0}}, 1);
}
Status cublasSgemmStridedBatched(Handle* handle, int a_op, int b_op, int m, int n, int k, const float* alpha,
                                 const float* a, int lda, long long a_stride, const float* b, int ldb,
                                 long long b_stride, const float* beta, float* c, int ldc, long long c_stride,
                                 int count) {
  ENTER("cublasSgemmStridedBatched");
  return multiply(handle,
                  {a_op,
                   b_op,
                   m,
                   n,
                   k,
                   *alpha,
                   {a, kFloat, lda, a_stride},
                   {b, kFloat, ldb, b_stride},
                   *beta,
                   {c, kFloat, ldc, c_stride}},
                  count);
}
Status cublasGemmEx(Handle* handle, int a_op, int b_op, int m, int n, int k, const void* alpha, const void* a,
                    int a_type, int lda, const void* b, int b_type, int ldb, const void* beta, void* c,
                    int c_type, int ldc, int compute, int) {
  ENTER("cublasGemmEx");
  return multiply(handle,
                  {a_op,
                   b_op,
                   m,
                   n,
                   k,
                   scalar(alpha, compute),
                   {a, a_type, lda, 0},
                   {b, b_type, ldb, 0},
                   scalar(beta, compute),
                   {c, c_type, ldc, 0}},
                  1);
}
Status cublasGemmStridedBatchedEx(Handle* handle, int a_op, int b_op, int m, int n, int k, const void* alpha,
                                  const void* a, int a_type, int lda, long long a_stride, const void* b,
                                  int b_type, int ldb, long long b_stride, const void* beta, void* c,
                                  int c_type, int ldc, long long c_stride, int count, int compute, int) {
  ENTER("cublasGemmStridedBatchedEx");
  return multiply(handle,
                  {a_op,
                   b_op,
                   m,
                   n,
                   k,
                   scalar(alpha, compute),
                   {a, a_type, lda, a_stride},
                   {b, b_type, ldb, b_stride},
                   scalar(beta, compute),
                   {c, c_type, ldc, c_stride}},
                  count);
}

UNSUPPORTED(cublasGemmBatchedEx)
UNSUPPORTED(cublasSgemmBatched)
UNSUPPORTED(cublasDgemmBatched)
UNSUPPORTED(cublasDgemmStridedBatched)
UNSUPPORTED(cublasDgemm_v2)
UNSUPPORTED(cublasSgeam)
UNSUPPORTED(cublasDgeam)
UNSUPPORTED(cublasScopy_v2)
UNSUPPORTED(cublasDcopy_v2)
UNSUPPORTED(cublasSscal_v2)
UNSUPPORTED(cublasSgetrfBatched)
UNSUPPORTED(cublasDgetrfBatched)
UNSUPPORTED(cublasSgetriBatched)
UNSUPPORTED(cublasDgetriBatched)

#pragma GCC visibility pop
}
