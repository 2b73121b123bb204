#include "batch_layout.h"

#include <cstring>
#include <string>

#include "half.h"

namespace batched {
namespace {

template <typename T>
void fill_with(std::byte* destination, std::size_t count, T value) {
  for (std::size_t i = 0; i < count; ++i) std::memcpy(destination + i * sizeof(T), &value, sizeof(T));
}

// Elements between neighbours on each axis of a dense tensor.
Dims strides_of(const Dims& dims) {
  Dims strides = dims;
  std::int64_t stride = 1;
  for (std::size_t axis = dims.rank(); axis-- > 0;) {
    strides[axis] = stride;
    stride *= dims[axis];
  }
  return strides;
}

// Copies a box of `extent` elements between two tensors with the given strides (in elements), a run of
// the last axis at a time where it is dense. It is not where the batch axis comes after it.
void copy_box(const std::byte* from, const Dims& from_strides, std::byte* to, const Dims& to_strides,
              const Dims& extent, std::size_t axis, std::size_t size) {
  if (extent.rank() == 0) {
    std::memcpy(to, from, size);
    return;
  }
  const auto count = static_cast<std::size_t>(extent[axis]);
  if (axis + 1 == extent.rank()) {
    if (from_strides[axis] == 1 && to_strides[axis] == 1) {
      std::memcpy(to, from, count * size);
      return;
    }
    for (std::size_t i = 0; i < count; ++i) {
      std::memcpy(to + i * static_cast<std::size_t>(to_strides[axis]) * size,
                  from + i * static_cast<std::size_t>(from_strides[axis]) * size, size);
    }
    return;
  }
  // Everything from here on dense on both sides: one run.
  std::size_t inner = 1;
  for (std::size_t i = axis + 1; i < extent.rank(); ++i) inner *= static_cast<std::size_t>(extent[i]);
  if (from_strides[axis] == static_cast<std::int64_t>(inner) &&
      to_strides[axis] == static_cast<std::int64_t>(inner)) {
    std::memcpy(to, from, count * inner * size);
    return;
  }
  for (std::size_t i = 0; i < count; ++i) {
    copy_box(from + i * static_cast<std::size_t>(from_strides[axis]) * size, from_strides,
             to + i * static_cast<std::size_t>(to_strides[axis]) * size, to_strides, extent, axis + 1, size);
  }
}

// The strides of one row inside a batch tensor, and where row `row` begins (in elements).
Dims row_strides(const Dims& whole, std::size_t batch_axis, std::size_t row, std::size_t* offset) {
  Dims strides = strides_of(whole);
  *offset = row * static_cast<std::size_t>(strides[batch_axis]);
  strides.erase(batch_axis);
  return strides;
}

// Where a box of `own` begins that lies at the far end of every axis of a row of `whole`.
std::size_t far_end(const Dims& own, const Dims& whole, std::size_t batch_axis, const Dims& strides) {
  std::size_t offset = 0;
  for (std::size_t axis = 0; axis < own.rank(); ++axis) {
    const std::int64_t room = whole[axis < batch_axis ? axis : axis + 1];
    offset += static_cast<std::size_t>((room - own[axis]) * strides[axis]);
  }
  return offset;
}

// Puts a row of `dims` into a batch tensor; on the left-padded axes at the far end.
void put_row(const TensorView& from, const Dims& whole, std::size_t batch_axis, std::size_t row,
             PaddingSide side, std::byte* destination) {
  const std::size_t size = element_size(from.dtype);
  std::size_t offset = 0;
  const Dims to_strides = row_strides(whole, batch_axis, row, &offset);
  if (side == PaddingSide::kLeft) offset += far_end(from.dims, whole, batch_axis, to_strides);
  if (from.dims.elements() == 0) return;
  copy_box(from.data, strides_of(from.dims), destination + offset * size, to_strides, from.dims, 0, size);
}

}  // namespace

void fill_elements(DType dtype, double value, std::byte* destination, std::size_t count) {
  if (count == 0) return;  // the memory of no elements may be null
  if (value == 0) {
    std::memset(destination, 0, count * element_size(dtype));
    return;
  }
  switch (dtype) {
    case DType::kFloat32:
      return fill_with(destination, count, static_cast<float>(value));
    case DType::kFloat64:
      return fill_with(destination, count, value);
    case DType::kFloat16:
      return fill_with(destination, count, to_half(static_cast<float>(value)));
    case DType::kInt8:
      return fill_with(destination, count, static_cast<std::int8_t>(value));
    case DType::kInt16:
      return fill_with(destination, count, static_cast<std::int16_t>(value));
    case DType::kInt32:
      return fill_with(destination, count, static_cast<std::int32_t>(value));
    case DType::kInt64:
      return fill_with(destination, count, static_cast<std::int64_t>(value));
    case DType::kUint8:
      return fill_with(destination, count, static_cast<std::uint8_t>(value));
    case DType::kUint16:
      return fill_with(destination, count, static_cast<std::uint16_t>(value));
    case DType::kUint32:
      return fill_with(destination, count, static_cast<std::uint32_t>(value));
    case DType::kUint64:
      return fill_with(destination, count, static_cast<std::uint64_t>(value));
    case DType::kBool:
      return fill_with(destination, count, static_cast<std::uint8_t>(value != 0));
  }
}

Status input_sizes(const Signature& signature, const BatchShape& shape, std::vector<std::size_t>* bytes) {
  const std::vector<TensorSpec>& specs = signature.inputs;
  if (shape.inputs.size() != specs.size()) {
    return {Code::kInvalidInput, "the batch has " + std::to_string(shape.inputs.size()) +
                                     " inputs and the model " + std::to_string(specs.size())};
  }
  bytes->clear();
  for (std::size_t i = 0; i < specs.size(); ++i) {
    const std::size_t size = element_size(specs[i].dtype);
    std::size_t elements = 0;
    if (!checked_elements(shape.inputs[i].span(), size, &elements)) {
      return {Code::kInvalidInput, "input '" + specs[i].name + "' can't be " +
                                       to_string(shape.inputs[i].span()) + ": it is too large"};
    }
    bytes->push_back(elements * size);
  }
  return {};
}

BatchLayout::BatchLayout(const Signature& signature, PaddingSide side, const ShapeLadder& ladder)
    : signature_(signature),
      side_(side),
      // Where rows of one length only share a batch, padding would change their results.
      ladder_{ladder.rows && signature.fixed_batch == 0, ladder.lengths && side != PaddingSide::kNone,
              ladder.max_rows, ladder.max_tokens},
      sources_(signature.outputs.size()) {
  for (std::size_t o = 0; o < signature.outputs.size(); ++o) {
    const TensorSpec& output = signature.outputs[o];
    for (std::size_t axis = 0; axis < output.axes.size(); ++axis) {
      if (static_cast<int>(axis) == output.batch_axis) continue;
      Source source;
      const std::string& symbol = output.axes[axis].symbol;
      for (std::size_t i = 0; i < signature.inputs.size() && !symbol.empty() && source.input < 0; ++i) {
        const TensorSpec& input = signature.inputs[i];
        if (input.shared()) continue;
        const auto batch = static_cast<std::size_t>(input.batch_axis);
        for (std::size_t a = 0; a < input.axes.size(); ++a) {
          if (a == batch || !input.axes[a].dynamic() || input.axes[a].symbol != symbol) continue;
          source = {static_cast<int>(i), a < batch ? a : a - 1};
          break;
        }
      }
      sources_[o].push_back(source);
    }
  }
}

void BatchLayout::fit(std::span<const RowInputs> rows, BatchShape* shape) const {
  const ShapeLadder::Rung rung = ladder_.fit(rows.size(), shape->longest);
  shape->padded_rows =
      signature_.fixed_batch > 0 ? static_cast<std::size_t>(signature_.fixed_batch) : rung.rows;
  shape->padded_length = rung.length;
  shape->inputs.assign(signature_.inputs.size(), Dims{});
  for (std::size_t i = 0; i < signature_.inputs.size(); ++i) {
    const TensorSpec& spec = signature_.inputs[i];
    Dims most = rows.front()[i].dims;
    if (!spec.shared()) {
      for (const RowInputs row : rows.subspan(1)) {
        for (std::size_t axis = 0; axis < most.rank(); ++axis) {
          most[axis] = std::max(most[axis], row[i].dims[axis]);
        }
      }
      const auto batch = static_cast<std::size_t>(spec.batch_axis);
      if (rung.length > shape->longest) {
        for (std::size_t axis = 0; axis < most.rank(); ++axis) {
          const bool padded = spec.axes[axis < batch ? axis : axis + 1].dynamic();
          if (padded && most[axis] == shape->longest) most[axis] = rung.length;
        }
      }
      most.insert(batch, static_cast<std::int64_t>(shape->padded_rows));
    }
    shape->inputs[i] = most;
  }
}

void BatchLayout::gather(std::span<const RowInputs> rows, const BatchShape& shape, std::size_t input,
                         std::byte* destination) const {
  const TensorSpec& spec = signature_.inputs[input];
  const Dims& whole = shape.inputs[input];
  const std::size_t size = element_size(spec.dtype);
  if (spec.shared()) {
    std::memcpy(destination, rows.front()[input].data, whole.elements() * size);
    return;
  }
  const auto batch_axis = static_cast<std::size_t>(spec.batch_axis);
  const std::size_t row_elements = whole.elements() / static_cast<std::size_t>(whole[batch_axis]);
  bool padded = rows.size() < static_cast<std::size_t>(whole[batch_axis]);
  for (const RowInputs row : rows) padded = padded || row[input].dims.elements() != row_elements;

  if (batch_axis != 0 || whole.rank() > 2) {
    if (padded) fill_elements(spec.dtype, spec.pad_value, destination, whole.elements());
    for (std::size_t r = 0; r < rows.size(); ++r) {
      const RowInput& from = rows[r][input];
      put_row({spec.dtype, from.dims, from.data}, whole, batch_axis, r, side_, destination);
    }
    return;
  }
  // The common case, [rows, longest]: a copy and a fill per row.
  for (std::size_t r = 0; r < rows.size(); ++r) {
    const RowInput& from = rows[r][input];
    const std::size_t own = from.dims.elements();
    const std::size_t rest = row_elements - own;
    std::byte* const to = destination + r * row_elements * size;
    const std::size_t before = side_ == PaddingSide::kLeft ? rest : 0;
    if (own > 0) std::memcpy(to + before * size, from.data, own * size);
    if (rest > 0) fill_elements(spec.dtype, spec.pad_value, before > 0 ? to : to + own * size, rest);
  }
  const std::size_t missing = static_cast<std::size_t>(whole[0]) - rows.size();
  if (missing > 0) {
    fill_elements(spec.dtype, spec.pad_value, destination + rows.size() * row_elements * size,
                  missing * row_elements);
  }
}

Dims BatchLayout::row_dims(const BatchShape& shape, RowInputs row, std::size_t output,
                           const Dims& whole) const {
  Dims dims = whole;
  dims.erase(static_cast<std::size_t>(signature_.outputs[output].batch_axis));
  for (std::size_t axis = 0; axis < dims.rank() && axis < sources_[output].size(); ++axis) {
    const Source& source = sources_[output][axis];
    if (source.input < 0) continue;
    const auto input = static_cast<std::size_t>(source.input);
    const auto batch = static_cast<std::size_t>(signature_.inputs[input].batch_axis);
    const std::int64_t padded = shape.inputs[input][source.axis < batch ? source.axis : source.axis + 1];
    if (dims[axis] == padded) dims[axis] = row[input].dims[source.axis];
  }
  return dims;
}

void BatchLayout::scatter(const TensorView& whole, std::size_t output, std::size_t row, const Dims& dims,
                          std::byte* destination) const {
  copy_row(whole, static_cast<std::size_t>(signature_.outputs[output].batch_axis), row, dims, side_,
           destination);
}

bool BatchLayout::holds_rows(std::size_t output, const Dims& whole, std::size_t rows) const {
  const int axis = signature_.outputs[output].batch_axis;
  if (axis < 0 || static_cast<std::size_t>(axis) >= whole.rank()) return false;
  const auto size = static_cast<std::size_t>(whole[static_cast<std::size_t>(axis)]);
  return signature_.fixed_batch > 0 || ladder_.rows ? size >= rows : size == rows;
}

void copy_row(const TensorView& whole, std::size_t batch_axis, std::size_t row, const Dims& dims,
              PaddingSide side, std::byte* destination) {
  if (dims.elements() == 0) return;
  const std::size_t size = element_size(whole.dtype);
  std::size_t offset = 0;
  const Dims strides = row_strides(whole.dims, batch_axis, row, &offset);
  if (side == PaddingSide::kLeft) offset += far_end(dims, whole.dims, batch_axis, strides);
  copy_box(whole.data + offset * size, strides, destination, strides_of(dims), dims, 0, size);
}

void move_row(const TensorView& whole, std::size_t row, const Dims& own, const Dims& to_dims,
              std::size_t to_row, PaddingSide side, std::byte* destination) {
  if (own.elements() == 0) return;
  const std::size_t size = element_size(whole.dtype);
  std::size_t from = 0;
  std::size_t to = 0;
  const Dims from_strides = row_strides(whole.dims, 0, row, &from);
  const Dims to_strides = row_strides(to_dims, 0, to_row, &to);
  if (side == PaddingSide::kLeft) {
    from += far_end(own, whole.dims, 0, from_strides);
    to += far_end(own, to_dims, 0, to_strides);
  }
  copy_box(whole.data + from * size, from_strides, destination + to * size, to_strides, own, 0, size);
}

Dims stacked_dims(std::span<const TensorView> rows, std::size_t batch_axis) {
  Dims most = rows.front().dims;
  for (const TensorView& row : rows.subspan(1)) {
    for (std::size_t axis = 0; axis < most.rank(); ++axis) {
      most[axis] = std::max(most[axis], row.dims[axis]);
    }
  }
  most.insert(batch_axis, static_cast<std::int64_t>(rows.size()));
  return most;
}

void stack_rows(std::span<const TensorView> rows, const Dims& dims, std::size_t batch_axis, PaddingSide side,
                std::byte* destination) {
  fill_elements(rows.front().dtype, 0, destination, dims.elements());
  for (std::size_t r = 0; r < rows.size(); ++r) {
    put_row(rows[r], dims, batch_axis, r, side, destination);
  }
}

}  // namespace batched
