// A call: one or more rows that were handed over together and are settled together.
//
// Life of a call:  submit() admits it -> its rows wait -> lanes bind and run them -> it settles, once.
// It settles when its last row is done, or at once when a row fails, its deadline passes, it is
// cancelled or the engine closes. A settled call lives on until its last bound row has left its lane.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "batch_layout.h"
#include "inline_array.h"
#include "row_queue.h"
#include "status.h"

namespace batched {

// One output of one call in a delivery's memory. `dims` has the batch axis.
struct OutputPart {
  std::size_t offset = 0;  // bytes, a multiple of 8
  Dims dims;
};

struct CallResult {
  std::uint64_t id = 0;  // the call's
  Code code = Code::kOk;
  std::string message;         // empty when ok
  std::size_t first_part = 0;  // ok: the call's parts begin here,
  std::size_t part_count = 0;  // one per output, or rows * outputs for a call that is not stacked
};

// Everything that one event (a finished batch, a sweep, a close) settles for one sink.
struct Delivery {
  std::vector<CallResult> results;
  std::vector<OutputPart> parts;
  std::unique_ptr<std::byte[]> data;
  std::size_t bytes = 0;
};

// Where results go: a JavaScript environment, or a thread that blocks for its result.
class CompletionSink {
 public:
  virtual ~CompletionSink() = default;
  // Any thread; never with the engine's lock held.
  virtual void deliver(Delivery delivery) noexcept = 0;
  // Whether more calls are to be expected for it: then calls that have settled are kept with it. Any thread.
  virtual bool stays() const noexcept { return false; }
};

struct Call;

struct CallRow : Row {
  Call* call = nullptr;
};

struct Call {
  // The caller's, before submit().
  std::shared_ptr<CompletionSink> sink;
  std::uint64_t id = 0;   // what the sink knows the call by
  std::size_t bytes = 0;  // what the call holds, for the bound on memory
  double priority = 0;
  Nanos deadline = kNever;
  bool stack = true;                // several rows: one tensor per output, or one per row and output
  bool cancellable = false;         // cancel() may be asked for it
  InlineArray<CallRow, 1> rows;     // with length and group set
  InlineArray<RowInput, 3> inputs;  // rows * inputs of the signature, row by row, pointing into the slab

  // The dispatcher's.
  std::size_t rows_left = 0;  // rows that wait or are bound to a lane
  bool settled = false;
  std::uint32_t place_in_expiry = kNotInHeap;
  std::vector<std::unique_ptr<std::byte[]>> row_data;  // of a call of several rows, by row
  std::vector<TensorView> row_outputs;                 // rows * outputs, pointing into `row_data`

  // Memory for the elements of the inputs, at least `size` bytes, aligned to 8; what was in it is gone.
  std::byte* slab(std::size_t size) {
    if (size <= slab_in_place_.size()) return slab_in_place_.data();
    if (size > slab_capacity_) {
      slab_ = std::make_unique_for_overwrite<std::byte[]>(size);
      slab_capacity_ = size;
    }
    return slab_.get();
  }
  std::size_t slab_capacity() const { return slab_capacity_; }

  RowInputs inputs_of(const CallRow& row) const {
    const std::size_t count = inputs.size() / rows.size();
    const auto index = static_cast<std::size_t>(&row - rows.data());
    return RowInputs(inputs).subspan(index * count, count);
  }

 private:
  std::unique_ptr<std::byte[]> slab_;
  std::size_t slab_capacity_ = 0;
  alignas(8) std::array<std::byte, 768> slab_in_place_;  // 32 tokens of three int64 inputs
};

struct ByDeadline {
  using Key = Nanos;
  static Key key(const Call& call) { return call.deadline; }
  static std::uint32_t& place(Call& call) { return call.place_in_expiry; }
};

}  // namespace batched
