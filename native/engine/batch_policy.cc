#include "batch_policy.h"

#include <algorithm>
#include <cmath>

namespace batched {
namespace {

// Rows over which a worth spreads the fixed cost of a run.
constexpr double kGoodBatch = 16;
// Batches are tried at this many sizes between two lengths, so that asking stays cheap.
constexpr std::uint32_t kMostSizes = 64;
// Sharing rows out over idle lanes must save at least this part of the time.
constexpr double kSharingGain = 0.25;

struct Run {
  std::size_t low = 0;  // first and last bucket
  std::size_t high = 0;
  std::uint32_t rows = 0;
  double score = -1;
};

std::uint32_t most_rows(const PolicyOptions& options, std::size_t budget, std::uint32_t longest) {
  std::uint64_t rows = budget;
  if (options.max_batch_tokens > 0 && longest > 0) {
    rows = std::min<std::uint64_t>(rows, options.max_batch_tokens / longest);
  }
  // A row over the budget runs alone.
  return static_cast<std::uint32_t>(std::max<std::uint64_t>(rows, 1));
}

// How many rows of bucket `i` a run from bucket `high` down takes when it has `left` places. Above the
// anchor the run must leave room for the `between` rows down to it, and for the anchor itself.
std::uint32_t share(const QueueView& queue, std::size_t high, std::uint32_t between, std::size_t i,
                    std::uint32_t left) {
  const std::uint32_t reserved = i == high && high > queue.anchor ? between + 1 : 0;
  return std::min(queue.buckets[i].rows, left - reserved);
}

class RunSearch {
 public:
  RunSearch(const QueueView& queue, const PolicyOptions& options, std::size_t budget, const CostModel* cost)
      : queue_(queue), options_(options), budget_(budget), cost_(cost) {}

  // The best run that holds the anchor. Its longest row may be in any bucket from the anchor's up.
  Run best() {
    std::uint32_t between = 0;  // rows of the buckets between the anchor's and `high`
    for (std::size_t high = queue_.anchor; high < queue_.buckets.size(); ++high) {
      const std::uint32_t most = most_rows(options_, budget_, queue_.buckets[high].length);
      const bool beyond = high > queue_.anchor;
      if (beyond && between + 2 > most) break;  // longer runs only hold fewer rows
      walk_down(high, between, most);
      if (beyond) between += queue_.buckets[high].rows;
    }
    return best_;
  }

 private:
  // Fills the run from its longest bucket down and scores it wherever it could end.
  void walk_down(std::size_t high, std::uint32_t between, std::uint32_t most) {
    const std::uint32_t longest = queue_.buckets[high].length;
    const std::uint32_t step = std::max<std::uint32_t>(1, most / kMostSizes);
    std::uint32_t rows = 0;
    worth_ = 0;
    for (std::size_t i = high + 1; i-- > 0 && rows < most;) {
      std::uint32_t left = share(queue_, high, between, i, most - rows);
      const bool may_end = i <= queue_.anchor;
      while (left > 0) {
        const std::uint32_t taken = may_end ? std::min(left, step) : left;
        rows += taken;
        left -= taken;
        if (cost_ != nullptr) worth_ += worth(queue_.buckets[i].length) * taken;
        if (may_end) consider({i, high, rows, score(rows, longest)});
      }
    }
  }

  double worth(std::uint32_t length) const {
    return cost_->per_token() * length + cost_->per_row() + cost_->per_batch() / kGoodBatch;
  }

  double score(std::uint32_t rows, std::uint32_t longest) const {
    if (cost_ != nullptr) {
      return worth_ / std::max(1.0, cost_->predict(rows, std::uint64_t{rows} * longest));
    }
    return rows - 1e-9 * longest;
  }

  void consider(const Run& run) {
    if (run.score > best_.score) best_ = run;
  }

  const QueueView& queue_;
  const PolicyOptions& options_;
  const std::size_t budget_;
  const CostModel* const cost_;
  double worth_ = 0;
  Run best_;
};

// How the rows of a run are spread over its buckets.
void spread(const QueueView& queue, const Run& run, std::vector<std::uint32_t>* take) {
  take->assign(queue.buckets.size(), 0);
  std::uint32_t between = 0;
  for (std::size_t i = queue.anchor + 1; i < run.high; ++i) between += queue.buckets[i].rows;
  std::uint32_t left = run.rows;
  for (std::size_t i = run.high + 1; i-- > run.low;) {
    (*take)[i] = share(queue, run.high, between, i, left);
    left -= (*take)[i];
  }
}

bool full_batch_waits(const QueueView& queue, const PolicyOptions& options) {
  return queue.rows >= options.batch_size ||
         (options.max_batch_tokens > 0 && queue.tokens >= options.max_batch_tokens);
}

// With several lanes free, leave the others their part where a smaller batch is that much faster.
std::size_t row_budget(const QueueView& queue, const LaneView& lane, const PolicyOptions& options,
                       const CostModel* cost) {
  if (cost == nullptr || lane.idle_lanes < 2 || queue.rows < 2) return options.batch_size;
  const std::size_t all = std::min(options.batch_size, queue.rows);
  const std::size_t part = (queue.rows + lane.idle_lanes - 1) / lane.idle_lanes;
  if (part >= all) return options.batch_size;
  const std::uint64_t mean = std::max<std::uint64_t>(1, queue.tokens / queue.rows);
  const double whole = cost->predict(all, all * mean);
  const double shared = cost->predict(part, part * mean);
  return shared < (1 - kSharingGain) * whole ? part : options.batch_size;
}

}  // namespace

void decide(const QueueView& queue, const LaneView& lane, Nanos now, const PolicyOptions& options,
            const CostModel* cost, Decision* decision) {
  decision->kind = Decision::Kind::kIdle;
  decision->until = kNever;
  decision->take.clear();
  if (queue.rows == 0) return;

  decision->reason = DispatchReason::kIdle;
  if (full_batch_waits(queue, options)) {
    decision->reason = DispatchReason::kFull;
  } else {
    if (options.timeout >= 0) {
      const Nanos due = later(queue.oldest_enqueued, options.timeout);
      if (now < due) {
        decision->kind = Decision::Kind::kWaitUntil;
        decision->until = due;
        return;
      }
      decision->reason = DispatchReason::kTimeout;
    }
    if (lane.busy) {
      const Nanos stage_at = lane.predicted_end - lane.staging;
      if (now < stage_at) {
        decision->kind = Decision::Kind::kWaitUntil;
        decision->until = stage_at;
        return;
      }
      decision->reason = DispatchReason::kStaged;
    }
  }

  const CostModel* const known = cost != nullptr && cost->known() ? cost : nullptr;
  RunSearch search(queue, options, row_budget(queue, lane, options, known), known);
  spread(queue, search.best(), &decision->take);
  decision->kind = Decision::Kind::kDispatch;
}

Nanos slack_of(const PolicyOptions& options, std::size_t call_rows, double priority, std::uint32_t longest) {
  double slack = 0;
  if (options.priority_strategy == PriorityStrategy::kPriority) {
    slack = priority * static_cast<double>(options.priority_slack);
  } else if (options.priority_strategy == PriorityStrategy::kLength) {
    slack = static_cast<double>(longest) * static_cast<double>(options.length_slack);
  }
  if (call_rows > options.small_batch_threshold) slack += static_cast<double>(options.large_call_slack);
  if (std::isnan(slack)) slack = 0;
  const auto most = static_cast<double>(options.most_slack);
  return static_cast<Nanos>(std::clamp(slack, -most, most));
}

}  // namespace batched
