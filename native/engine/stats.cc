#include "stats.h"

namespace batched {

void Counters::count_batch(std::size_t rows, std::uint64_t useful, std::uint64_t padded,
                           DispatchReason reason) {
  ++batches;
  batch_rows += rows;
  useful_tokens += useful;
  padded_tokens += padded;
  ++reasons[static_cast<std::size_t>(reason)];
  if (batch_sizes.size() <= rows) batch_sizes.resize(rows + 1);
  ++batch_sizes[rows];
}

void Counters::count_settled(Code code, std::uint64_t rows) {
  switch (code) {
    case Code::kOk:
      processed += rows;
      break;
    case Code::kCancelled:
      cancelled += rows;
      break;
    case Code::kDeadline:
      timed_out += rows;
      break;
    case Code::kClosed:
      closed += rows;
      break;
    default:
      failed += rows;
  }
}

// Rows that have not ended yet stay admitted, so that the sums go on adding up.
void Counters::clear() {
  const std::uint64_t open = admitted - (processed + failed + cancelled + timed_out + closed);
  *this = Counters{};
  admitted = open;
}

}  // namespace batched
