#include "engine.h"

#include <sys/random.h>

#include <algorithm>
#include <utility>

#include "row_check.h"
#include "thread.h"

namespace batched {

namespace {

// Not std::random_device: inside a static C++ runtime it asks for a newer glibc than anything else here.
std::uint64_t random_seed() {
  std::uint64_t seed = 0;
  if (getentropy(&seed, sizeof(seed)) != 0) seed = static_cast<std::uint64_t>(steady_clock().now());
  return seed;
}

// A model with a fixed batch axis has no room for more rows.
PolicyOptions fitted(PolicyOptions policy, const Signature& signature) {
  if (signature.fixed_batch > 0) {
    policy.batch_size = std::min(policy.batch_size, static_cast<std::size_t>(signature.fixed_batch));
  }
  return policy;
}

ShapeLadder fitted(ShapeLadder ladder, const PolicyOptions& policy) {
  ladder.max_rows = policy.batch_size;
  ladder.max_tokens = policy.max_batch_tokens;
  return ladder;
}

}  // namespace

Engine::Engine(const EngineOptions& options, Signature signature, std::vector<std::unique_ptr<Lane>> lanes,
               Clock& clock)
    : options_(options),
      signature_(std::move(signature)),
      layout_(signature_, options.padding_side, fitted(options.ladder, options.policy)),
      clock_(clock),
      seed_(random_seed()),
      dispatcher_(signature_, fitted(options.policy, signature_), options.bounds, options.cost, clock) {
  for (std::unique_ptr<Lane>& lane : lanes) {
    lanes_.push_back(std::make_unique<LaneThread>(std::move(lane), signature_, layout_, dispatcher_, clock));
  }
  for (const std::unique_ptr<LaneThread>& lane : lanes_) lane->start();
}

Engine::~Engine() {
  dispatcher_.close(/*drain=*/false, nullptr);
  for (const std::unique_ptr<LaneThread>& lane : lanes_) lane->interrupt();
  for (const std::unique_ptr<LaneThread>& lane : lanes_) lane->join();
  if (timer_.joinable()) timer_.join();
}

EngineStats Engine::stats() {
  EngineStats stats = dispatcher_.stats();
  for (std::size_t i = 0; i < lanes_.size(); ++i) stats.lanes[i].device = lanes_[i]->device_use();
  return stats;
}

void Engine::clear_stats() {
  dispatcher_.clear_stats();
  for (const std::unique_ptr<LaneThread>& lane : lanes_) lane->clear_device_use();
}

Status Engine::prepare(Call* call) const {
  if (call->rows.empty()) return {Code::kInvalidInput, "a call has no rows"};
  for (CallRow& row : call->rows) {
    const RowInputs inputs = call->inputs_of(row);
    Status status = check_row(signature_, inputs);
    if (!status.ok()) return status;
    if (row.length == 0) row.length = length_of(signature_, inputs);
    if (options_.max_item_length > 0 && row.length > options_.max_item_length) {
      return {Code::kInvalidInput, "an item of length " + std::to_string(row.length) +
                                       " is longer than maxItemLength " +
                                       std::to_string(options_.max_item_length)};
    }
    row.group = group_of(signature_, options_.padding_side, inputs, seed_);
  }
  return Status::okay();
}

Status Engine::submit(std::unique_ptr<Call>& call) {
  Status status;
  submit(std::span(&call, 1), std::span(&status, 1));
  return status;
}

void Engine::submit(std::span<std::unique_ptr<Call>> calls, std::span<Status> statuses) {
  bool deadlines = false;
  for (const std::unique_ptr<Call>& call : calls) deadlines = deadlines || call->deadline != kNever;
  if (deadlines) start_timer();
  dispatcher_.submit(calls, statuses);
}

void Engine::close(bool drain, std::function<void()> closed) { dispatcher_.close(drain, std::move(closed)); }

// Deadlines are swept by a thread of their own, so that they do not depend on a lane becoming free. It
// starts with the first call that has one.
void Engine::start_timer() {
  std::call_once(timer_once_, [this] {
    timer_ = std::thread([this] {
      name_this_thread("batched-timer");
      while (dispatcher_.wait_for_deadline()) dispatcher_.expire();
    });
  });
}

}  // namespace batched
