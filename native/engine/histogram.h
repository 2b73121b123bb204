// A log-linear histogram of durations: constant memory, constant time, about 3 % resolution.
//
// Values below 32 have a bucket each; from there every octave is cut into 32 equal buckets, so a bucket
// is at most 1/32 of its value wide.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "clock.h"

namespace batched {

class Histogram {
 public:
  void record(Nanos value, std::uint32_t times = 1);
  void clear() { *this = Histogram{}; }

  std::uint64_t count() const { return count_; }
  Nanos max() const { return max_; }
  double sum() const { return sum_; }

  // The smallest value such that `fraction` (0 to 1) of the records are at most it, up to the bucket's
  // width and never above max(). 0 when empty.
  Nanos percentile(double fraction) const;

 private:
  static constexpr unsigned kSubBits = 5;
  static constexpr unsigned kOctaves = 40;  // up to 2^44 ns, about five hours
  static constexpr std::size_t kBuckets = (std::size_t{1} << kSubBits) * kOctaves;

  static std::size_t bucket_of(std::uint64_t value);
  static std::uint64_t highest_in(std::size_t bucket);

  std::array<std::uint32_t, kBuckets> buckets_{};
  std::uint64_t count_ = 0;
  Nanos max_ = 0;
  double sum_ = 0;
};

}  // namespace batched
