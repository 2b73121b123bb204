// The queue of a user function: the engine's scheduler on the JavaScript thread alone.
//
// JavaScript keeps the items and the promises, by slot; in here are slots, lengths, priorities and
// times. No other thread takes part, so there is no lock: the policy is asked at the end of a tick, when
// a batch has settled, and when a timer is due.
#pragma once

#include <napi.h>

#include <memory>
#include <vector>

#include "engine/clock.h"
#include "engine/scheduler.h"
#include "engine/stats.h"

namespace batched {

class FunctionQueue final : public Napi::ObjectWrap<FunctionQueue> {
 public:
  static Napi::Function define(Napi::Env env);

  explicit FunctionQueue(const Napi::CallbackInfo& info);

 private:
  // See the class of the same name in ts/native.ts for what each takes and gives.
  Napi::Value admit(const Napi::CallbackInfo& info);
  Napi::Value admit_singles(const Napi::CallbackInfo& info);
  Napi::Value next(const Napi::CallbackInfo& info);
  Napi::Value last_batch(const Napi::CallbackInfo& info);
  void finish(const Napi::CallbackInfo& info);
  Napi::Value remove(const Napi::CallbackInfo& info);
  Napi::Value queued(const Napi::CallbackInfo& info);
  void count(const Napi::CallbackInfo& info);
  Napi::Value size(const Napi::CallbackInfo& info);
  Napi::Value stats(const Napi::CallbackInfo& info);
  void clear_stats(const Napi::CallbackInfo& info);

  struct SlotRow : Row {
    std::uint32_t slot = 0;
  };

  // The row of a slot. Slots are small and reused, so rows live in a table, in blocks that never move.
  SlotRow* row_at(std::uint32_t slot) {
    if (slot >= blocks_.size() * kRowsPerBlock) add_blocks(slot);
    return &blocks_[slot / kRowsPerBlock][slot % kRowsPerBlock];
  }
  void add_blocks(std::uint32_t slot);

  // Records how long ago each of `rows` was enqueued.
  template <typename Rows>
  void record_ages(const Rows& rows, Nanos now, Histogram* histogram);

  static constexpr std::size_t kRowsPerBlock = 256;

  Scheduler scheduler_;
  Counters counters_;
  Clock& clock_;
  std::vector<std::unique_ptr<SlotRow[]>> blocks_;
  std::vector<Row*> entering_;
  std::vector<Row*> batch_;
  DispatchReason reason_ = DispatchReason::kIdle;  // of the batch that was bound last
};

}  // namespace batched
