#include "histogram.h"

#include <algorithm>
#include <bit>
#include <cmath>

namespace batched {

std::size_t Histogram::bucket_of(std::uint64_t value) {
  constexpr std::uint64_t kSub = 1ULL << kSubBits;
  if (value < kSub) return static_cast<std::size_t>(value);
  const auto exponent = static_cast<unsigned>(std::bit_width(value) - 1);  // >= kSubBits
  const unsigned octave = exponent - kSubBits + 1;
  const std::uint64_t sub = (value >> (exponent - kSubBits)) - kSub;
  return std::min(static_cast<std::size_t>(octave * kSub + sub), kBuckets - 1);
}

std::uint64_t Histogram::highest_in(std::size_t bucket) {
  constexpr std::uint64_t kSub = 1ULL << kSubBits;
  const std::uint64_t octave = bucket / kSub;
  const std::uint64_t sub = bucket % kSub;
  if (octave == 0) return sub;
  return ((kSub + sub + 1) << (octave - 1)) - 1;
}

void Histogram::record(Nanos value, std::uint32_t times) {
  const Nanos known = std::max<Nanos>(value, 0);
  buckets_[bucket_of(static_cast<std::uint64_t>(known))] += times;
  count_ += times;
  max_ = std::max(max_, known);
  sum_ += static_cast<double>(known) * times;
}

Nanos Histogram::percentile(double fraction) const {
  if (count_ == 0) return 0;
  const double wanted = std::ceil(std::clamp(fraction, 0.0, 1.0) * static_cast<double>(count_));
  const auto rank = std::max<std::uint64_t>(1, static_cast<std::uint64_t>(wanted));
  std::uint64_t seen = 0;
  for (std::size_t bucket = 0; bucket < kBuckets; ++bucket) {
    seen += buckets_[bucket];
    if (seen >= rank) return std::min(static_cast<Nanos>(highest_in(bucket)), max_);
  }
  return max_;
}

}  // namespace batched
