// Turns the arguments of a JavaScript call into an engine call: copies every row into memory the engine
// owns, converted to the model's types. After that nothing the caller does to its arrays matters.
//
// TypeScript has named and validated the features; what is checked again here is what memory safety
// needs: every length against the dimensions it is said to have.
#pragma once

#include <napi.h>

#include <cstdint>
#include <span>
#include <vector>

#include "engine/call.h"
#include "engine/clock.h"
#include "engine/status.h"
#include "engine/tensor.h"

namespace batched {

// How TypeScript describes a call, in numbers: the header, then kNumbersPerInput for each input of the
// signature; packed calls follow each other. ts/native.ts has the same layout.
struct CallNumbers {
  static constexpr std::size_t kRows = 0;      // of the call
  static constexpr std::size_t kDeadline = 1;  // milliseconds from now; negative: none
  static constexpr std::size_t kPriority = 2;
  static constexpr std::size_t kFlags = 3;
  static constexpr std::size_t kSlot = 4;    // packed calls: what JavaScript knows the call by,
  static constexpr std::size_t kOffset = 5;  // and where its elements begin in the arena
  static constexpr std::size_t kHeader = 6;

  static constexpr int kUnstacked = 1;
  static constexpr int kCancellable = 2;

  // Per input: form, dtype, rank, dims...
  static constexpr std::size_t kForm = 0;
  static constexpr std::size_t kDType = 1;
  static constexpr std::size_t kRank = 2;
  static constexpr std::size_t kDims = 3;
  static constexpr std::size_t kNumbersPerInput = kDims + Dims::kMaxRank;
};

enum class FeatureForm : int {
  kAbsent = 0,  // the engine makes it: an attention mask of ones, token types of zeros
  kDense = 1,   // one typed array with dims, the batch axis among them
  kRagged = 2,  // an array with a typed array or an array of numbers for each row
};

class CallBuilder {
 public:
  // `numbers` is where TypeScript describes calls; it and the signature must outlive the builder. A call of
  // more than `max_bytes` is refused before it is copied: no queue of that engine would ever take it.
  CallBuilder(const Signature& signature, std::span<const double> numbers, std::uint64_t max_bytes);
  ~CallBuilder();

  // Builds the first call that `numbers` describes. `values` holds one argument per input, then optionally a
  // Float64Array with the rows' lengths. The environment's own thread. Not reentrant, and reading rows
  // may run getters: the caller refuses a call that is made meanwhile.
  Status build(std::span<const napi_value> values, Napi::Env env, const Clock& clock, Call* call);

  // Builds packed call number `index`, whose elements lie in `arena`, input by input, each aligned to 8
  // bytes.
  Status build_packed(std::size_t index, std::span<const std::byte> arena, Napi::Env env, const Clock& clock,
                      Call* call);

  // Numbers that describe one call.
  static std::size_t stride(const Signature& signature) {
    return CallNumbers::kHeader + signature.inputs.size() * CallNumbers::kNumbersPerInput;
  }

 private:
  struct Feature;
  class Reading;
  static Status read(Reading reading, const Clock& clock);

  const Signature& signature_;
  const std::span<const double> numbers_;
  const std::uint64_t max_bytes_;
  std::vector<Feature> features_;  // of the call that is being built; kept for its memory
};

}  // namespace batched
