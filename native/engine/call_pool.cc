#include "call_pool.h"

#include <utility>

namespace batched {
namespace {

constexpr std::size_t kMostSpare = 4096;
constexpr std::size_t kMostSlab = 16 * 1024;

// As new, but for its capacity, and for a sink that stays, which is nearly always the next call's too: the
// count of its owners would wander between cores. Few writes: so will the call's memory.
void reset(Call* call) {
  if (call->sink != nullptr && !call->sink->stays()) call->sink.reset();
  call->priority = 0;
  call->deadline = kNever;
  call->stack = true;
  call->cancellable = false;
  call->rows_left = 0;
  call->settled = false;
  call->row_data.clear();
  call->row_outputs.clear();
}

}  // namespace

bool CallPool::worth_keeping(const Call& call) {
  return call.rows.in_place() && call.slab_capacity() <= kMostSlab;
}

void CallPool::take_all(std::vector<std::unique_ptr<Call>>* calls) {
  const MutexLock lock(mutex_);
  calls->swap(spare_);
}

void CallPool::forget(const CompletionSink* sink) {
  const MutexLock lock(mutex_);
  for (const std::unique_ptr<Call>& call : spare_) {
    if (call->sink.get() == sink) call->sink.reset();
  }
}

void CallPool::give(Settlement& settlement) {
  for (SettledCall& settled : settlement.calls) {
    if (settled.owned != nullptr) settlement.leftovers.push_back(std::move(settled.owned));
  }
  std::vector<std::unique_ptr<Call>>& calls = settlement.leftovers;
  std::erase_if(calls, [](const std::unique_ptr<Call>& call) { return !worth_keeping(*call); });
  for (const std::unique_ptr<Call>& call : calls) reset(call.get());
  const MutexLock lock(mutex_);
  for (std::unique_ptr<Call>& call : calls) {
    if (spare_.size() >= kMostSpare) break;
    spare_.push_back(std::move(call));
  }
}

}  // namespace batched
