#include "warm_up.h"

#include <algorithm>
#include <condition_variable>
#include <cstring>
#include <limits>
#include <optional>
#include <span>
#include <utility>

namespace batched {
namespace {

struct Trial {
  std::int64_t rows;
  std::int64_t length;
};

// Small and large, short and long, and the two in which rows and tokens disagree.
constexpr Trial kSmallTrials[] = {{1, 16}, {16, 16}, {1, 128}, {8, 32}, {4, 16}, {2, 64}, {32, 8}};
constexpr Trial kLargeTrials[] = {{32, 512}, {64, 128}, {32, 128}, {64, 32},
                                  {1, 512},  {32, 32},  {8, 64},   {1, 32}};
constexpr Nanos kMostWarmUp = 1'500 * kMillisecond;
// Of the largest batch: beyond it a model takes memory when it comes to that.
constexpr std::uint64_t kMostTokens = 128 * 1024;

BatchShape shape_of(const Signature& signature, const Trial& trial) {
  BatchShape shape;
  shape.rows = static_cast<std::size_t>(signature.fixed_batch > 0 ? signature.fixed_batch : trial.rows);
  shape.longest = static_cast<std::uint32_t>(trial.length);
  shape.padded_rows = shape.rows;
  shape.padded_length = shape.longest;
  for (const TensorSpec& input : signature.inputs) {
    Dims dims;
    for (std::size_t axis = 0; axis < input.axes.size(); ++axis) {
      const bool batch = static_cast<int>(axis) == input.batch_axis;
      dims.push_back(batch                        ? static_cast<std::int64_t>(shape.rows)
                     : input.axes[axis].dynamic() ? trial.length
                                                  : input.axes[axis].size);
    }
    shape.inputs.push_back(dims);
  }
  return shape;
}

// `duration`: of the run, without staging.
Status run_trial(Lane& lane, const Signature& signature, const BatchShape& shape, bool alone, Clock& clock,
                 Nanos* duration) {
  std::vector<std::byte*> inputs;
  if (Status status = lane.stage(0, shape, &inputs); !status.ok()) return status;
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    std::memset(inputs[i], 0, shape.inputs[i].elements() * element_size(signature.inputs[i].dtype));
  }
  Mutex mutex;
  std::condition_variable ended;
  std::optional<Status> outcome;
  const Nanos begin = clock.now();
  lane.run(0, shape, alone, [&](Status status) {
    const MutexLock lock(mutex);
    outcome = std::move(status);
    ended.notify_one();
  });
  MutexLock lock(mutex);
  while (!outcome) ended.wait(lock.native());
  *duration = clock.now() - begin;
  return *outcome;
}

// The longest rows that the model takes, as many of them as there will be and the memory has room for.
void take_memory(Lane& lane, const Signature& signature, const WarmUp& batches, Clock& clock) {
  const std::uint64_t most_tokens =
      batches.most_tokens > 0 ? std::min(batches.most_tokens, kMostTokens) : kMostTokens;
  for (const std::int64_t length : {512, 256, 128, 64, 32}) {
    std::uint64_t rows =
        std::min<std::uint64_t>(batches.most_rows, most_tokens / static_cast<std::uint64_t>(length));
    rows = std::max<std::uint64_t>(1, rows);
    Status status;
    Nanos duration = 0;
    for (; rows > 0; rows /= 2) {
      const Trial trial{static_cast<std::int64_t>(rows), length};
      status = run_trial(lane, signature, shape_of(signature, trial), /*alone=*/false, clock, &duration);
      if (status.code() != Code::kOutOfMemory) break;
    }
    if (status.ok()) return;
  }
}

}  // namespace

CostModel warm_up(Lane& lane, const Signature& signature, Clock& clock, const WarmUp& batches) {
  const std::span<const Trial> trials =
      batches.large ? std::span<const Trial>(kLargeTrials) : std::span<const Trial>(kSmallTrials);
  if (batches.large) take_memory(lane, signature, batches, clock);
  CostModel cost;
  std::int64_t most_length = std::numeric_limits<std::int64_t>::max();
  const Nanos deadline = later(clock.now(), kMostWarmUp);
  for (int round = 0; round < 2; ++round) {
    for (const Trial& trial : trials) {
      if (clock.now() > deadline) return cost;
      if (trial.length > most_length) continue;
      const BatchShape shape = shape_of(signature, trial);
      Nanos duration = 0;
      if (!run_trial(lane, signature, shape, /*alone=*/false, clock, &duration).ok()) {
        most_length = trial.length - 1;  // too long for the model, or for the memory
        continue;
      }
      // The first round finds memory and caches cold.
      if (round > 0) cost.observe(shape.rows, shape.padded_tokens(), duration);
      if (round == 0) (void)run_trial(lane, signature, shape, /*alone=*/true, clock, &duration);
    }
  }
  return cost;
}

}  // namespace batched
