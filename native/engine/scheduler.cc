#include "scheduler.h"

#include <algorithm>
#include <string>

namespace batched {
namespace {

// The policy looks at this many batches' worth of rows on each side of the anchor.
constexpr std::size_t kWindowBatches = 4;

}  // namespace

Scheduler::Scheduler(const PolicyOptions& options, const QueueBounds& bounds, bool learns_cost)
    : options_(options), bounds_(bounds), learns_cost_(learns_cost) {}

Status Scheduler::admit(std::span<Row* const> rows, std::uint64_t bytes, double priority, Nanos now) {
  if (!queue_.empty() && queue_.rows() + rows.size() > bounds_.max_rows) {
    return {Code::kQueueFull, "the queue holds " + std::to_string(queue_.rows()) +
                                  " rows and has no room for " + std::to_string(rows.size()) +
                                  " more (maxQueueRows " + std::to_string(bounds_.max_rows) + ")"};
  }
  if (bytes > bounds_.max_bytes) {
    return {Code::kInvalidInput, "the call holds " + std::to_string(bytes) +
                                     " bytes, more than the engine ever has room for (maxQueueBytes " +
                                     std::to_string(bounds_.max_bytes) + ")"};
  }
  if (bytes_ + bytes > bounds_.max_bytes) {
    return {Code::kQueueFull, "the calls in the engine hold " + std::to_string(bytes_) +
                                  " bytes and there is no room for " + std::to_string(bytes) +
                                  " more (maxQueueBytes " + std::to_string(bounds_.max_bytes) + ")"};
  }
  bytes_ += bytes;
  std::uint32_t longest = 0;
  for (const Row* const row : rows) longest = std::max(longest, row->length);
  const Nanos virtual_deadline = later(now, slack_of(options_, rows.size(), priority, longest));
  for (Row* const row : rows) {
    row->enqueued = now;
    row->virtual_deadline = std::min(virtual_deadline, row->deadline);
    row->sequence = sequence_++;
    queue_.push(row);
  }
  return Status::okay();
}

const Decision& Scheduler::next(const LaneView& lane, Nanos now, std::vector<Row*>* batch) {
  batch->clear();
  if (queue_.empty()) {
    decision_.kind = Decision::Kind::kIdle;
    decision_.until = kNever;
    decision_.take.clear();
    return decision_;
  }
  decide(queue_.view(kWindowBatches * options_.batch_size), lane, now, options_,
         learns_cost_ ? &cost_ : nullptr, &decision_);
  if (decision_.kind == Decision::Kind::kDispatch) queue_.take(decision_.take, batch);
  return decision_;
}

void Scheduler::lower_token_budget(std::uint64_t padded_tokens) {
  const std::uint64_t budget = std::max<std::uint64_t>(padded_tokens, 1);
  options_.max_batch_tokens =
      options_.max_batch_tokens == 0 ? budget : std::min(options_.max_batch_tokens, budget);
}

}  // namespace batched
