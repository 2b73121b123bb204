// Rows and signatures for the tests of the batch layout.
#pragma once

#include <cstring>
#include <memory>
#include <utility>
#include <vector>

#include "engine/batch_layout.h"

namespace batched {

// Owns the data of a few rows of one input each.
template <typename T>
class Rows {
 public:
  Rows& add(const Dims& dims, const std::vector<T>& values) {
    values_.push_back(std::make_unique<std::vector<T>>(values));
    inputs_.push_back(std::make_unique<RowInput>(
        RowInput{reinterpret_cast<const std::byte*>(values_.back()->data()), dims}));
    rows_.emplace_back(inputs_.back().get(), 1);
    return *this;
  }
  Rows& add(const std::vector<T>& values) {
    Dims dims;
    dims.push_back(static_cast<std::int64_t>(values.size()));
    return add(dims, values);
  }
  std::span<const RowInputs> span() const { return rows_; }
  RowInputs operator[](std::size_t row) const { return rows_[row]; }

 private:
  std::vector<std::unique_ptr<std::vector<T>>> values_;
  std::vector<std::unique_ptr<RowInput>> inputs_;
  std::vector<RowInputs> rows_;
};

// One input and one output, both with the given axes.
inline Signature one_to_one(DType dtype, std::vector<Axis> axes, int batch_axis = 0, double pad_value = 0) {
  Signature signature;
  signature.inputs = {{"x", dtype, axes, batch_axis, pad_value}};
  signature.outputs = {{"y", dtype, std::move(axes), batch_axis, 0}};
  return signature;
}

inline const std::vector<Axis>& rows_by_length() {
  static const std::vector<Axis> axes = {{-1, "batch"}, {-1, "length"}};
  return axes;
}

template <typename T>
std::vector<T> gathered(const BatchLayout& layout, std::span<const RowInputs> rows, BatchShape* shape) {
  layout.fit(rows, shape);
  std::vector<T> whole(shape->inputs[0].elements(), T(99));
  layout.gather(rows, *shape, 0, reinterpret_cast<std::byte*>(whole.data()));
  return whole;
}

// Row `row` of an output with the given values.
template <typename T>
std::pair<Dims, std::vector<T>> scattered(const BatchLayout& layout, const BatchShape& shape,
                                          RowInputs row_inputs, std::size_t row, DType dtype,
                                          const Dims& dims, const std::vector<T>& values) {
  const TensorView whole{dtype, dims, reinterpret_cast<const std::byte*>(values.data())};
  const Dims own = layout.row_dims(shape, row_inputs, 0, dims);
  std::vector<T> part(own.elements(), T(99));
  layout.scatter(whole, 0, row, own, reinterpret_cast<std::byte*>(part.data()));
  return {own, part};
}

}  // namespace batched
