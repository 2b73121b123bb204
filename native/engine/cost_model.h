// What a batch costs, learned from a lane's own batches.
//
//   duration = a * padded_tokens + b * rows + c        (padded_tokens = rows * longest row)
//
// is fitted by exponentially weighted least squares of the relative error. Real lanes bend away from
// the line where a batch leaves a cache or fills a device; a ratio per quarter octave of padded tokens
// follows that bend.
//
// Not synchronized; pure but for observe().
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "clock.h"

namespace batched {

class CostModel {
 public:
  // A finished batch of `rows` rows took `duration` > 0 from the start of its run to its end.
  void observe(std::size_t rows, std::uint64_t padded_tokens, Nanos duration);

  // Whether enough different batches were seen to predict from.
  bool known() const { return known_; }

  // Predicted nanoseconds of a batch. Zero while nothing is known.
  double predict(std::size_t rows, std::uint64_t padded_tokens) const;

  double per_token() const { return fit_[0]; }
  double per_row() const { return fit_[1]; }
  double per_batch() const { return fit_[2]; }

 private:
  static constexpr std::size_t kTerms = 3;
  static constexpr std::size_t kCells = 4 * 32;

  using Vector = std::array<double, kTerms>;

  static std::size_t cell_of(std::uint64_t padded_tokens);
  double line(std::size_t rows, std::uint64_t padded_tokens) const;
  void solve();

  std::array<Vector, kTerms> normal_{};  // sum of w x x^T, decayed
  Vector moment_{};                      // sum of w x y, decayed
  Vector fit_{};                         // a, b, c: never negative
  std::array<float, kCells> bend_{};     // measured / line; 0 where nothing was measured
  std::uint64_t smallest_ = 0;           // range of padded tokens seen
  std::uint64_t largest_ = 0;
  std::size_t seen_ = 0;
  bool known_ = false;
};

}  // namespace batched
