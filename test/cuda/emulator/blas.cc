// libcublas.so.13: matrix products, of what ONNX Runtime's CUDA provider asks for. The rest is not supported.
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

#include "device.h"

namespace {

// As cublas_api.h and library_types.h number them.
enum Status { kOk = 0, kInvalidValue = 7, kExecutionFailed = 13, kNotSupported = 15 };
enum DataType { kFloat = 0, kDouble = 1, kHalf = 2, kBfloat16 = 14 };
enum ComputeType { kCompute16 = 64, kCompute16Pedantic = 65, kCompute64 = 70, kCompute64Pedantic = 71 };
enum Operation { kNone = 0, kTransposed = 1 };

struct Handle {
  emulator::Stream* stream = nullptr;
  int math_mode = 0;
};

double read(const std::byte* bytes, std::int64_t index, int type) {
  switch (type) {
    case kDouble:
      return reinterpret_cast<const double*>(bytes)[index];
    case kHalf:
      return static_cast<double>(reinterpret_cast<const _Float16*>(bytes)[index]);
    case kBfloat16: {
      const std::uint32_t bits = std::uint32_t{reinterpret_cast<const std::uint16_t*>(bytes)[index]} << 16;
      float value = 0;
      std::memcpy(&value, &bits, sizeof value);
      return value;
    }
    default:
      return reinterpret_cast<const float*>(bytes)[index];
  }
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

struct Matrix {
  const void* data;
  int type;
  int leading;
  std::int64_t stride;
};

// c = alpha a b + beta c, by columns, `count` times. Sums in double: more exact than a GPU's.
// The same for floats, which nearly all products are of.
void multiply_floats(int a_op, int b_op, int m, int n, int k, double alpha, const float* a, int lda,
                     const float* b, int ldb, double beta, float* c, int ldc) {
  std::vector<double> sums(static_cast<std::size_t>(m));
  for (int column = 0; column < n; ++column) {
    std::fill(sums.begin(), sums.end(), 0.0);
    for (int at = 0; at < k; ++at) {
      const double factor =
          b_op == kNone ? b[at + std::int64_t{column} * ldb] : b[column + std::int64_t{at} * ldb];
      const float* const from = a_op == kNone ? a + std::int64_t{at} * lda : a + at;
      const std::int64_t step = a_op == kNone ? 1 : lda;
      for (int row = 0; row < m; ++row) sums[static_cast<std::size_t>(row)] += factor * from[row * step];
    }
    float* const to = c + std::int64_t{column} * ldc;
    for (int row = 0; row < m; ++row) {
      to[row] =
          static_cast<float>(alpha * sums[static_cast<std::size_t>(row)] + (beta == 0 ? 0 : beta * to[row]));
    }
  }
}

Status multiply(Handle* handle, int a_op, int b_op, int m, int n, int k, double alpha, Matrix a, Matrix b,
                double beta, Matrix c, int count) {
  if (c.type == kBfloat16) return kNotSupported;
  const auto work = [=] {
    const std::byte* const a_data = emulator::bytes_at(a.data);
    const std::byte* const b_data = emulator::bytes_at(b.data);
    std::byte* const c_data = emulator::bytes_at(c.data);
    for (int i = 0; i < count; ++i) {
      if (a.type == kFloat && b.type == kFloat && c.type == kFloat) {
        multiply_floats(a_op, b_op, m, n, k, alpha, reinterpret_cast<const float*>(a_data) + i * a.stride,
                        a.leading, reinterpret_cast<const float*>(b_data) + i * b.stride, b.leading, beta,
                        reinterpret_cast<float*>(c_data) + i * c.stride, c.leading);
        continue;
      }
      for (int column = 0; column < n; ++column) {
        for (int row = 0; row < m; ++row) {
          double sum = 0;
          for (int at = 0; at < k; ++at) {
            const std::int64_t in_a =
                a_op == kNone ? row + std::int64_t{at} * a.leading : at + std::int64_t{row} * a.leading;
            const std::int64_t in_b =
                b_op == kNone ? at + std::int64_t{column} * b.leading : column + std::int64_t{at} * b.leading;
            sum += read(a_data, i * a.stride + in_a, a.type) * read(b_data, i * b.stride + in_b, b.type);
          }
          const std::int64_t in_c = i * c.stride + row + std::int64_t{column} * c.leading;
          write(c_data, in_c, c.type, alpha * sum + (beta == 0 ? 0 : beta * read(c_data, in_c, c.type)));
        }
      }
    }
  };
  return handle->stream->enqueue("kernel", work) == emulator::kSuccess ? kOk : kExecutionFailed;
}

double scalar(const void* value, int compute) {
  const bool half = compute == kCompute16 || compute == kCompute16Pedantic;
  const bool wide = compute == kCompute64 || compute == kCompute64Pedantic;
  return read(static_cast<const std::byte*>(value), 0, half ? kHalf : wide ? kDouble : kFloat);
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
  handle->stream = stream == nullptr ? &emulator::default_stream() : stream;
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
  return multiply(handle, a_op, b_op, m, n, k, *alpha, {a, kFloat, lda, 0}, {b, kFloat, ldb, 0}, *beta,
                  {c, kFloat, ldc, 0}, 1);
}
Status cublasSgemmStridedBatched(Handle* handle, int a_op, int b_op, int m, int n, int k, const float* alpha,
                                 const float* a, int lda, long long a_stride, const float* b, int ldb,
                                 long long b_stride, const float* beta, float* c, int ldc, long long c_stride,
                                 int count) {
  ENTER("cublasSgemmStridedBatched");
  return multiply(handle, a_op, b_op, m, n, k, *alpha, {a, kFloat, lda, a_stride}, {b, kFloat, ldb, b_stride},
                  *beta, {c, kFloat, ldc, c_stride}, count);
}
Status cublasGemmEx(Handle* handle, int a_op, int b_op, int m, int n, int k, const void* alpha, const void* a,
                    int a_type, int lda, const void* b, int b_type, int ldb, const void* beta, void* c,
                    int c_type, int ldc, int compute, int) {
  ENTER("cublasGemmEx");
  return multiply(handle, a_op, b_op, m, n, k, scalar(alpha, compute), {a, a_type, lda, 0},
                  {b, b_type, ldb, 0}, scalar(beta, compute), {c, c_type, ldc, 0}, 1);
}
Status cublasGemmStridedBatchedEx(Handle* handle, int a_op, int b_op, int m, int n, int k, const void* alpha,
                                  const void* a, int a_type, int lda, long long a_stride, const void* b,
                                  int b_type, int ldb, long long b_stride, const void* beta, void* c,
                                  int c_type, int ldc, long long c_stride, int count, int compute, int) {
  ENTER("cublasGemmStridedBatchedEx");
  return multiply(handle, a_op, b_op, m, n, k, scalar(alpha, compute), {a, a_type, lda, a_stride},
                  {b, b_type, ldb, b_stride}, scalar(beta, compute), {c, c_type, ldc, c_stride}, count);
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
