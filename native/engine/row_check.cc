#include "row_check.h"

#include <algorithm>
#include <limits>
#include <string>

namespace batched {
namespace {

// The axes of one row's part of an input: all but the batch axis.
const Axis& row_axis(const TensorSpec& spec, std::size_t axis) {
  const bool after = !spec.shared() && axis >= static_cast<std::size_t>(spec.batch_axis);
  return spec.axes[after ? axis + 1 : axis];
}

std::size_t row_rank(const TensorSpec& spec) { return spec.axes.size() - (spec.shared() ? 0 : 1); }

std::string expected_dims(const TensorSpec& spec) {
  std::string text = "[";
  for (std::size_t axis = 0; axis < row_rank(spec); ++axis) {
    const Axis& expected = row_axis(spec, axis);
    if (axis > 0) text += ", ";
    text += !expected.dynamic()       ? std::to_string(expected.size)
            : expected.symbol.empty() ? "?"
                                      : expected.symbol;
  }
  return text + "]";
}

Status wrong_dims(const TensorSpec& spec, const RowInput& input) {
  return {Code::kInvalidInput, "input '" + spec.name + "': a row has dims " + to_string(input.dims.span()) +
                                   " where the model wants " + expected_dims(spec)};
}

// The size that the first axis of the row with this symbol has. The symbol is on some axis of the inputs
// up to `last`, whose ranks have been checked.
std::int64_t size_of_symbol(const Signature& signature, RowInputs row, const std::string& symbol,
                            std::size_t last, std::string* owner) {
  for (std::size_t i = 0; i <= last; ++i) {
    const TensorSpec& spec = signature.inputs[i];
    for (std::size_t axis = 0; axis < row_rank(spec); ++axis) {
      if (row_axis(spec, axis).dynamic() && row_axis(spec, axis).symbol == symbol) {
        *owner = spec.name;
        return row[i].dims[axis];
      }
    }
  }
  return -1;
}

// splitmix64's finisher over words: quick, and spread well enough for a seeded hash.
std::uint64_t mix(std::uint64_t hash, std::uint64_t word) {
  hash = (hash ^ word) + 0x9e3779b97f4a7c15ULL;
  hash = (hash ^ (hash >> 30)) * 0xbf58476d1ce4e5b9ULL;
  hash = (hash ^ (hash >> 27)) * 0x94d049bb133111ebULL;
  return hash ^ (hash >> 31);
}

std::uint64_t mix_dims(std::uint64_t hash, const Dims& dims) {
  hash = mix(hash, dims.rank());
  for (const std::int64_t dim : dims.span()) hash = mix(hash, static_cast<std::uint64_t>(dim));
  return hash;
}

}  // namespace

Status check_row(const Signature& signature, RowInputs row) {
  for (std::size_t i = 0; i < signature.inputs.size(); ++i) {
    const TensorSpec& spec = signature.inputs[i];
    if (row[i].dims.rank() != row_rank(spec)) return wrong_dims(spec, row[i]);
    for (std::size_t axis = 0; axis < row[i].dims.rank(); ++axis) {
      const Axis& expected = row_axis(spec, axis);
      if (!expected.dynamic()) {
        if (expected.size != row[i].dims[axis]) return wrong_dims(spec, row[i]);
        continue;
      }
      if (row[i].dims[axis] == 0) {
        return {Code::kInvalidInput,
                "input '" + spec.name + "': a row is empty, its dims are " + to_string(row[i].dims.span())};
      }
      if (expected.symbol.empty()) continue;
      std::string owner;
      const std::int64_t size = size_of_symbol(signature, row, expected.symbol, i, &owner);
      if (size >= 0 && size != row[i].dims[axis]) {
        return {Code::kInvalidInput, "inputs '" + owner + "' and '" + spec.name + "' disagree on '" +
                                         expected.symbol + "': " + std::to_string(size) + " and " +
                                         std::to_string(row[i].dims[axis])};
      }
    }
  }
  return Status::okay();
}

std::uint32_t length_of(const Signature& signature, RowInputs row) {
  for (std::size_t i = 0; i < signature.inputs.size(); ++i) {
    const TensorSpec& spec = signature.inputs[i];
    if (spec.shared()) continue;
    std::uint64_t length = 1;
    bool dynamic = false;
    for (std::size_t axis = 0; axis < row[i].dims.rank(); ++axis) {
      if (!row_axis(spec, axis).dynamic()) continue;
      dynamic = true;
      length *= static_cast<std::uint64_t>(row[i].dims[axis]);
    }
    if (!dynamic) continue;
    constexpr std::uint64_t kMost = std::numeric_limits<std::uint32_t>::max();
    return static_cast<std::uint32_t>(std::clamp<std::uint64_t>(length, 1, kMost));
  }
  return 1;
}

std::uint64_t group_of(const Signature& signature, PaddingSide side, RowInputs row, std::uint64_t seed) {
  std::uint64_t hash = 0;
  for (std::size_t i = 0; i < signature.inputs.size(); ++i) {
    const TensorSpec& spec = signature.inputs[i];
    if (!spec.shared()) {
      if (side == PaddingSide::kNone) hash = mix_dims(hash == 0 ? seed | 1 : hash, row[i].dims);
      continue;
    }
    hash = mix_dims(hash == 0 ? seed | 1 : hash, row[i].dims);
    const std::size_t bytes = row[i].dims.elements() * element_size(spec.dtype);
    for (std::size_t at = 0; at < bytes; ++at) {
      hash = mix(hash, static_cast<std::uint64_t>(row[i].data[at]));
    }
  }
  return hash;
}

}  // namespace batched
