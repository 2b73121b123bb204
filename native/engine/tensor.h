// Element types, dimensions, and what a model takes and gives. No data is owned here.
#pragma once

#include <algorithm>
#include <array>
#include <cassert>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>
#include <vector>

namespace batched {

// The order is part of the boundary: ts/tensor.ts lists the same types in the same order.
enum class DType : std::uint8_t {
  kFloat32 = 0,
  kFloat64,
  kFloat16,
  kInt8,
  kInt16,
  kInt32,
  kInt64,
  kUint8,
  kUint16,
  kUint32,
  kUint64,
  kBool,
};

std::size_t element_size(DType dtype);
// The name used by ONNX and onnxruntime-common, such as "float32".
const char* dtype_name(DType dtype);

// Dimensions of a tensor, kept in place: rows are many and small.
class Dims {
 public:
  static constexpr std::size_t kMaxRank = 8;

  Dims() = default;
  Dims(std::initializer_list<std::int64_t> values) {
    for (const std::int64_t value : values) push_back(value);
  }

  std::size_t rank() const { return rank_; }
  std::int64_t operator[](std::size_t axis) const { return values_[axis]; }
  std::int64_t& operator[](std::size_t axis) { return values_[axis]; }
  const std::int64_t* data() const { return values_.data(); }
  std::span<const std::int64_t> span() const { return {values_.data(), rank_}; }

  void push_back(std::int64_t value) {
    assert(rank_ < kMaxRank);
    values_[rank_++] = value;
  }
  void insert(std::size_t axis, std::int64_t value) {
    push_back(value);
    std::rotate(values_.begin() + static_cast<std::ptrdiff_t>(axis),
                values_.begin() + static_cast<std::ptrdiff_t>(rank_) - 1,
                values_.begin() + static_cast<std::ptrdiff_t>(rank_));
  }
  void erase(std::size_t axis) {
    for (std::size_t i = axis; i + 1 < rank_; ++i) values_[i] = values_[i + 1];
    --rank_;
  }

  // Number of elements. Dims that come from outside go through checked_elements() first.
  std::size_t elements() const {
    std::size_t product = 1;
    for (std::size_t i = 0; i < rank_; ++i) product *= static_cast<std::size_t>(values_[i]);
    return product;
  }

  friend bool operator==(const Dims& a, const Dims& b) { return std::ranges::equal(a.span(), b.span()); }

 private:
  std::array<std::int64_t, kMaxRank> values_{};
  std::size_t rank_ = 0;
};

// Writes the product of `dims` to `elements`. False if a dimension is negative or the product times
// `element_bytes` does not fit a signed 64-bit size.
bool checked_elements(std::span<const std::int64_t> dims, std::size_t element_bytes, std::size_t* elements);

std::string to_string(std::span<const std::int64_t> dims);

// One axis of a model's tensor: a fixed size, or dynamic with the symbol the model gives it.
struct Axis {
  static constexpr std::int64_t kDynamic = -1;
  std::int64_t size = kDynamic;
  std::string symbol;  // empty when the model names none

  bool dynamic() const { return size == kDynamic; }
};

// One input or output of a model.
struct TensorSpec {
  static constexpr int kShared = -1;

  std::string name;
  DType dtype = DType::kFloat32;
  std::vector<Axis> axes;
  int batch_axis = 0;  // kShared: one value for the whole batch
  double pad_value = 0;

  bool shared() const { return batch_axis == kShared; }
};

struct Signature {
  std::vector<TensorSpec> inputs;
  std::vector<TensorSpec> outputs;
  std::int64_t fixed_batch = 0;  // rows of every run if the model fixes its batch axis, else 0
};

// A tensor somebody else owns, in host memory, dense and row-major.
struct TensorView {
  DType dtype = DType::kFloat32;
  Dims dims;
  const std::byte* data = nullptr;

  std::size_t bytes() const { return dims.elements() * element_size(dtype); }
};

}  // namespace batched
