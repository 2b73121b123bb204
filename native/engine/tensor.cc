#include "tensor.h"

#include <limits>

namespace batched {

std::size_t element_size(DType dtype) {
  switch (dtype) {
    case DType::kInt8:
    case DType::kUint8:
    case DType::kBool:
      return 1;
    case DType::kFloat16:
    case DType::kInt16:
    case DType::kUint16:
      return 2;
    case DType::kFloat32:
    case DType::kInt32:
    case DType::kUint32:
      return 4;
    case DType::kFloat64:
    case DType::kInt64:
    case DType::kUint64:
      return 8;
  }
  return 1;
}

const char* dtype_name(DType dtype) {
  static constexpr std::array<const char*, 12> kNames = {"float32", "float64", "float16", "int8",
                                                         "int16",   "int32",   "int64",   "uint8",
                                                         "uint16",  "uint32",  "uint64",  "bool"};
  return kNames[static_cast<std::size_t>(dtype)];
}

bool checked_elements(std::span<const std::int64_t> dims, std::size_t element_bytes, std::size_t* elements) {
  constexpr auto kMost = static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
  std::uint64_t product = 1;
  for (const std::int64_t dim : dims) {
    if (dim < 0) return false;
    if (__builtin_mul_overflow(product, static_cast<std::uint64_t>(dim), &product)) return false;
  }
  std::uint64_t bytes = 0;
  if (__builtin_mul_overflow(product, static_cast<std::uint64_t>(element_bytes), &bytes)) {
    return false;
  }
  if (bytes > kMost) return false;
  *elements = static_cast<std::size_t>(product);
  return true;
}

std::string to_string(std::span<const std::int64_t> dims) {
  std::string text = "[";
  for (std::size_t i = 0; i < dims.size(); ++i) {
    if (i > 0) text += ", ";
    text += dims[i] == Axis::kDynamic ? "?" : std::to_string(dims[i]);
  }
  return text + "]";
}

}  // namespace batched
