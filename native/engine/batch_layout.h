// The one place that decides how the rows of a batch lie in memory.
//
// Today: padded. Every input is one dense tensor [rows, longest, ...]; a shorter row is filled up with
// the input's pad value, on the right or on the left. A packed layout (the tokens of all rows end to
// end, with row offsets) fits in here later without touching the queue or the lanes.
//
// Pure functions over memory that others own; any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "shape_ladder.h"
#include "status.h"
#include "tensor.h"

namespace batched {

enum class PaddingSide : std::uint8_t { kRight, kLeft, kNone };

// One row's part of one input: `dims` without the batch axis, `data` dense. For a shared input the
// whole tensor.
struct RowInput {
  const std::byte* data = nullptr;
  Dims dims;
};

// The inputs of one row, in the order of the signature.
using RowInputs = std::span<const RowInput>;

// What a lane needs to know of a batch.
struct BatchShape {
  std::size_t rows = 0;
  std::uint32_t longest = 0;  // tokens of the longest row
  std::vector<Dims> inputs;   // of the padded inputs, batch axis included
  // As it runs: rows and tokens that only fill it up included.
  std::size_t padded_rows = 0;
  std::uint32_t padded_length = 0;

  std::uint64_t padded_tokens() const { return std::uint64_t{padded_length} * padded_rows; }
};

// Bytes of each of the batch's inputs, in the order of the signature. kInvalidInput: `shape` is not of that
// model, or an input of it is too large for any memory.
Status input_sizes(const Signature& signature, const BatchShape& shape, std::vector<std::size_t>* bytes);

class BatchLayout {
 public:
  BatchLayout(const Signature& signature, PaddingSide side, const ShapeLadder& ladder = {});

  PaddingSide side() const { return side_; }

  // Given its rows and the longest of them, sets the rest of `shape`: the smallest dimensions that hold every
  // row, or the next ones up the ladder.
  void fit(std::span<const RowInputs> rows, BatchShape* shape) const;

  // Writes input `input` of all rows, padded, to `destination` (dense, of shape.inputs[input]).
  void gather(std::span<const RowInputs> rows, const BatchShape& shape, std::size_t input,
              std::byte* destination) const;

  // Dimensions of one row's part of an output: without the batch axis, and on every axis that carries
  // a padded symbolic dimension of the inputs cut back to the row's own length.
  Dims row_dims(const BatchShape& shape, RowInputs row, std::size_t output, const Dims& whole) const;

  // Copies row `row` of `whole` (output `output` of the batch) to `destination`, dense, of `dims`.
  void scatter(const TensorView& whole, std::size_t output, std::size_t row, const Dims& dims,
               std::byte* destination) const;

  // Whether the output `whole` has a place for each of `rows` rows.
  bool holds_rows(std::size_t output, const Dims& whole, std::size_t rows) const;

 private:
  // Where the length of an output's axis comes from: an axis of a row of an input.
  struct Source {
    int input = -1;  // -1: the axis is not padded
    std::size_t axis = 0;
  };

  const Signature& signature_;
  const PaddingSide side_;
  const ShapeLadder ladder_;
  std::vector<std::vector<Source>> sources_;  // by output, by axis of the row
};

// Copies row `row` of `whole` to `destination`, dense, of `dims` (at most the row's; the part on the side
// that is not padded).
void copy_row(const TensorView& whole, std::size_t batch_axis, std::size_t row, const Dims& dims,
              PaddingSide side, std::byte* destination);

// Copies row `row` of `whole`, cut to `own`, to row `to_row` of a tensor of `to_dims`; both have the batch on
// axis 0. With kLeft the row is read from and written to the far end of every axis.
void move_row(const TensorView& whole, std::size_t row, const Dims& own, const Dims& to_dims,
              std::size_t to_row, PaddingSide side, std::byte* destination);

// Writes `count` elements of `value`.
void fill_elements(DType dtype, double value, std::byte* destination, std::size_t count);

// Stacks rows of different dimensions into `destination` of `dims` [rows, ...most of each axis], with
// zeros where a short row is padded. For a call of several rows; `batch_axis` is the output's.
void stack_rows(std::span<const TensorView> rows, const Dims& dims, std::size_t batch_axis, PaddingSide side,
                std::byte* destination);

// The dimensions that stack_rows() needs: the most of each axis, with the batch axis put in.
Dims stacked_dims(std::span<const TensorView> rows, std::size_t batch_axis);

}  // namespace batched
