// Collects what one event settles, sink by sink, and hands it over once the lock is released.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "call.h"
#include "tensor.h"

namespace batched {

// A call that has settled, with the result it settled with.
struct SettledCall {
  std::unique_ptr<Call> owned;           // null while rows of the call are still bound elsewhere,
  std::shared_ptr<CompletionSink> sink;  // and then the call's sink
  std::uint64_t id = 0;
  Code code = Code::kOk;
  std::string message;
  // ok: the whole outputs of the batch and the row in them, for a call of one row.
  std::size_t row_in_batch = 0;

  CompletionSink* to() const { return owned != nullptr ? owned->sink.get() : sink.get(); }
};

struct Settlement {
  std::vector<SettledCall> calls;
  std::vector<std::unique_ptr<Call>> leftovers;  // settled earlier; their last row has now left its lane
};

// The outputs of a finished batch, for the calls of one row that settle with it.
struct BatchOutputs {
  const BatchLayout& layout;
  const BatchShape& shape;
  std::span<const TensorView> tensors;
};

// Writes the results into one block of memory per sink and delivers them. `outputs` may be null when
// no call in `settlement` settles ok. Never with the engine's lock held.
void deliver(Settlement& settlement, const Signature& signature, const BatchOutputs* outputs);

}  // namespace batched
