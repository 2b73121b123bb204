// Rows of random dimensions go into a batch, and come back out of it: every element is where a slow, obvious
// model of the layout has it.
#include <algorithm>
#include <cstring>

#include "engine/batch_layout.h"
#include "fuzz_input.h"

namespace batched {
namespace {

using Element = std::uint16_t;
constexpr Element kPad = 9;

// A tensor that is asked and written by coordinates.
struct Tensor {
  Dims dims;
  std::vector<Element> elements;

  explicit Tensor(const Dims& size, Element value = 0) : dims(size), elements(size.elements(), value) {}

  Element& at(const Dims& place) {
    std::size_t index = 0;
    for (std::size_t axis = 0; axis < dims.rank(); ++axis) {
      FUZZ_CHECK(place[axis] >= 0 && place[axis] < dims[axis]);
      index = index * static_cast<std::size_t>(dims[axis]) + static_cast<std::size_t>(place[axis]);
    }
    return elements[index];
  }
  std::byte* data() { return reinterpret_cast<std::byte*>(elements.data()); }
  const std::byte* data() const { return reinterpret_cast<const std::byte*>(elements.data()); }
  TensorView view() const { return {DType::kUint16, dims, data()}; }

  // Calls `visit` with the coordinates of every element.
  template <typename Visit>
  static void each(const Dims& dims, Visit visit) {
    Dims place = dims;
    for (std::size_t i = 0; i < dims.elements(); ++i) {
      std::size_t rest = i;
      for (std::size_t axis = dims.rank(); axis-- > 0;) {
        place[axis] = static_cast<std::int64_t>(rest % static_cast<std::size_t>(dims[axis]));
        rest /= static_cast<std::size_t>(dims[axis]);
      }
      visit(place);
    }
  }
};

// Where a row's element lies in a batch tensor.
Dims in_batch(Dims place, const Dims& row, const Dims& whole, std::size_t axis, std::size_t r,
              PaddingSide side) {
  for (std::size_t i = 0; i < place.rank() && side == PaddingSide::kLeft; ++i) {
    place[i] += whole[i < axis ? i : i + 1] - row[i];
  }
  place.insert(axis, static_cast<std::int64_t>(r));
  return place;
}

void check_batch(FuzzInput& input) {
  const auto rank = input.between<std::size_t>(0, 4);
  const auto batch_axis = input.between<std::size_t>(0, rank);
  const auto side = static_cast<PaddingSide>(input.between(0, 2));
  const auto count = input.between<std::size_t>(1, 6);
  const auto spare = input.between<std::int64_t>(0, 2);
  Dims first;
  std::vector<Axis> axes;
  for (std::size_t axis = 0; axis < rank; ++axis) {
    first.push_back(input.between(1, 5));
    axes.push_back({Axis::kDynamic, "axis" + std::to_string(axis)});
  }
  axes.insert(axes.begin() + static_cast<std::ptrdiff_t>(batch_axis), Axis{Axis::kDynamic, "batch"});

  std::vector<Tensor> tensors;
  for (std::size_t r = 0; r < count; ++r) {
    Dims dims = first;
    // Without padding only rows of equal dimensions meet.
    for (std::size_t axis = 0; axis < rank && side != PaddingSide::kNone; ++axis)
      dims[axis] = input.between(1, 5);
    Tensor& row = tensors.emplace_back(dims);
    for (Element& element : row.elements) element = static_cast<Element>(input.between(100, 60'000));
  }
  std::vector<RowInput> inputs;
  for (const Tensor& row : tensors) inputs.push_back({row.data(), row.dims});
  std::vector<RowInputs> rows;
  for (const RowInput& row : inputs) rows.emplace_back(&row, 1);

  Signature signature;
  signature.inputs = {{"x", DType::kUint16, axes, static_cast<int>(batch_axis), kPad}};
  signature.outputs = {{"y", DType::kUint16, axes, static_cast<int>(batch_axis), 0}};
  if (spare > 0) signature.fixed_batch = static_cast<std::int64_t>(count) + spare;
  const BatchLayout layout(signature, side);

  BatchShape shape;
  shape.rows = count;
  layout.fit(rows, &shape);
  Dims most = first;
  for (std::size_t axis = 0; axis < rank; ++axis) {
    most[axis] = std::ranges::max(tensors, {}, [&](const Tensor& row) { return row.dims[axis]; }).dims[axis];
  }
  most.insert(batch_axis, static_cast<std::int64_t>(count) + spare);
  FUZZ_CHECK(shape.inputs[0] == most);

  Tensor expected(most, kPad);
  for (std::size_t r = 0; r < count; ++r) {
    Tensor::each(tensors[r].dims, [&](const Dims& place) {
      expected.at(in_batch(place, tensors[r].dims, most, batch_axis, r, side)) = tensors[r].at(place);
    });
  }
  Tensor whole(most, 1);
  layout.gather(rows, shape, 0, whole.data());
  FUZZ_CHECK(whole.elements == expected.elements);

  FUZZ_CHECK(layout.holds_rows(0, most, count));
  for (std::size_t r = 0; r < count; ++r) {
    const Dims own = layout.row_dims(shape, rows[r], 0, most);
    FUZZ_CHECK(own == tensors[r].dims);
    Tensor part(own);
    layout.scatter(whole.view(), 0, r, own, part.data());
    FUZZ_CHECK(part.elements == tensors[r].elements);
  }

  std::vector<TensorView> views;
  for (const Tensor& row : tensors) views.push_back(row.view());
  Dims stacked = most;
  stacked[batch_axis] = static_cast<std::int64_t>(count);
  FUZZ_CHECK(stacked_dims(views, batch_axis) == stacked);
  Tensor stack(stacked, 1);
  stack_rows(views, stacked, batch_axis, side, stack.data());
  Tensor expected_stack(stacked);
  for (std::size_t r = 0; r < count; ++r) {
    Tensor::each(tensors[r].dims, [&](const Dims& place) {
      expected_stack.at(in_batch(place, tensors[r].dims, stacked, batch_axis, r, side)) =
          tensors[r].at(place);
    });
  }
  FUZZ_CHECK(stack.elements == expected_stack.elements);
}

// move_row(): a part of a row of one tensor to a row of another, both with the batch first.
void check_move(FuzzInput& input) {
  const auto rank = input.between<std::size_t>(0, 4);
  const auto side = input.flag() ? PaddingSide::kLeft : PaddingSide::kRight;
  Dims own;
  Dims from_dims{input.between(1, 4)};
  Dims to_dims{input.between(1, 4)};
  for (std::size_t axis = 0; axis < rank; ++axis) {
    own.push_back(input.between(0, 4));
    from_dims.push_back(own[axis] + input.between(0, 3));
    to_dims.push_back(own[axis] + input.between(0, 3));
  }
  const auto from_row = input.between<std::size_t>(0, static_cast<std::size_t>(from_dims[0]) - 1);
  const auto to_row = input.between<std::size_t>(0, static_cast<std::size_t>(to_dims[0]) - 1);
  Tensor from(from_dims);
  for (std::size_t i = 0; i < from.elements.size(); ++i) from.elements[i] = static_cast<Element>(i + 100);

  Tensor to(to_dims, kPad);
  Tensor expected = to;
  Tensor::each(own, [&](const Dims& place) {
    expected.at(in_batch(place, own, to_dims, 0, to_row, side)) =
        from.at(in_batch(place, own, from_dims, 0, from_row, side));
  });
  move_row(from.view(), from_row, own, to_dims, to_row, side, to.data());
  FUZZ_CHECK(to.elements == expected.elements);
}

}  // namespace
}  // namespace batched

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  batched::FuzzInput input(data, size);
  if (input.flag()) {
    batched::check_batch(input);
  } else {
    batched::check_move(input);
  }
  return 0;
}
