// A lane whose runs block at a gate until the test opens it, and a model so simple that any result can
// be checked: it doubles every number and sums every row.
//
// The test keeps a LaneControl; the engine owns the GatedLane. Sync: run() blocks the lane's thread.
// Async: run() returns at once and a thread of the lane's own calls `done`.
#pragma once

#include <condition_variable>
#include <cstring>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "engine/lane.h"
#include "hang_deadline.h"

namespace batched {

// x float32 [batch, n]  ->  twice float32 [batch, n], sum float32 [batch]
inline Signature doubling_signature() {
  Signature signature;
  signature.inputs = {{"x", DType::kFloat32, {{-1, "batch"}, {-1, "n"}}, 0, 0}};
  signature.outputs = {{"twice", DType::kFloat32, {{-1, "batch"}, {-1, "n"}}, 0, 0},
                       {"sum", DType::kFloat32, {{-1, "batch"}}, 0, 0}};
  return signature;
}

// What the lane was asked to run: of every row its numbers, padding included.
struct RunRecord {
  std::vector<std::vector<float>> rows;
  bool alone = false;

  // The first number of each row, which the tests use as the row's name.
  std::vector<float> names() const {
    std::vector<float> names;
    for (const std::vector<float>& row : rows) names.push_back(row.empty() ? -1 : row.front());
    return names;
  }
};

class LaneControl {
 public:
  // --- before the engine is made -------------------------------------------------------------------
  bool async = false;
  std::size_t slots = 1;
  std::size_t runs_in_flight = 1;                        // async: more than one
  std::function<Status(const RunRecord&)> judge;         // what a run ends with when the test says nothing
  std::function<Status(const BatchShape&)> staging;      // what stage() ends with
  std::function<void(std::vector<TensorView>*)> tamper;  // with what a run gives
  std::size_t staging_calls = 0;                         // for `staging` to count with

  // --- the test ------------------------------------------------------------------------------------
  // Lets `runs` more runs through, or all from now on.
  void open(std::size_t runs = 1) {
    const std::lock_guard lock(mutex_);
    permits_ += runs;
    changed_.notify_all();
  }
  void open_all() { open(std::size_t{1} << 40); }
  // Lets one run through and makes it end with `status`.
  void open_with(Status status) {
    const std::lock_guard lock(mutex_);
    outcomes_.push_back(std::move(status));
    ++permits_;
    changed_.notify_all();
  }

  void await_staged(std::size_t count) { await("staged", &LaneControl::staged_, count); }
  void await_started(std::size_t count) { await("started", &LaneControl::started_, count); }

  std::size_t staged() const { return read(&LaneControl::staged_); }
  std::size_t started() const { return read(&LaneControl::started_); }
  bool was_destroyed() const { return read(&LaneControl::destroyed_); }
  bool was_interrupted() const { return read(&LaneControl::interrupted_); }
  std::vector<RunRecord> runs() const { return read(&LaneControl::runs_); }
  RunRecord last_run() const { return runs().back(); }

 private:
  friend class GatedLane;

  template <typename T>
  T read(T LaneControl::* member) const {
    const std::lock_guard lock(mutex_);
    return this->*member;
  }

  void await(const char* what, std::size_t LaneControl::* counter, std::size_t count) {
    std::unique_lock lock(mutex_);
    if (!changed_.wait_for(lock, kHangDeadline, [&] { return this->*counter >= count; })) {
      fail_hang(std::to_string(this->*counter) + " of " + std::to_string(count) + " batches were " + what);
    }
  }

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::size_t permits_ = 0;
  std::deque<Status> outcomes_;
  std::size_t staged_ = 0;
  std::size_t started_ = 0;
  std::vector<RunRecord> runs_;
  bool interrupted_ = false;
  bool destroyed_ = false;
  std::deque<std::function<void()>> pending_;  // async: what the lane's own thread is to do
  bool ending_ = false;
};

class GatedLane final : public Lane {
 public:
  explicit GatedLane(std::shared_ptr<LaneControl> control)
      : control_(std::move(control)), slots_(control_->slots) {
    if (control_->async) completer_ = std::thread([this] { complete_runs(); });
  }

  ~GatedLane() override {
    {
      const std::lock_guard lock(control_->mutex_);
      control_->ending_ = true;
      control_->destroyed_ = true;
      control_->changed_.notify_all();
    }
    if (completer_.joinable()) completer_.join();
  }

  std::string name() const override { return "gated"; }
  std::size_t slots() const override { return slots_.size(); }
  std::size_t runs() const override { return control_->runs_in_flight; }

  Status stage(std::size_t slot, const BatchShape& shape, std::vector<std::byte*>* inputs) override {
    Slot& here = slots_[slot];
    here.input.assign(shape.inputs[0].elements(), -777.0F);
    inputs->assign(1, reinterpret_cast<std::byte*>(here.input.data()));
    const std::lock_guard lock(control_->mutex_);
    ++control_->staged_;
    control_->changed_.notify_all();
    return control_->staging ? control_->staging(shape) : Status::okay();
  }

  void run(std::size_t slot, const BatchShape& shape, bool alone, Done done) override {
    const std::size_t rows = static_cast<std::size_t>(shape.inputs[0][0]);
    const std::size_t width = static_cast<std::size_t>(shape.inputs[0][1]);
    RunRecord record;
    record.alone = alone;
    for (std::size_t r = 0; r < rows; ++r) {
      const auto begin = slots_[slot].input.begin() + static_cast<std::ptrdiff_t>(r * width);
      record.rows.emplace_back(begin, begin + static_cast<std::ptrdiff_t>(width));
    }
    std::unique_lock lock(control_->mutex_);
    ++control_->started_;
    control_->runs_.push_back(record);
    control_->changed_.notify_all();
    if (!control_->async) {
      lock.unlock();
      done(perform(slot, record));
      return;
    }
    control_->pending_.emplace_back(
        [this, slot, record = std::move(record), done = std::move(done)] { done(perform(slot, record)); });
  }

  std::span<const TensorView> outputs(std::size_t slot) const override { return slots_[slot].outputs; }

  void interrupt() noexcept override {
    const std::lock_guard lock(control_->mutex_);
    control_->interrupted_ = true;
    control_->changed_.notify_all();
  }

 private:
  struct Slot {
    std::vector<float> input;
    std::vector<float> twice;
    std::vector<float> sum;
    std::vector<TensorView> outputs;
  };

  // Waits at the gate, then computes the outputs.
  Status perform(std::size_t slot, const RunRecord& record) {
    std::optional<Status> outcome;
    {
      std::unique_lock lock(control_->mutex_);
      control_->changed_.wait(lock, [&] { return control_->permits_ > 0 || control_->interrupted_; });
      if (control_->interrupted_) return {Code::kClosed, "interrupted"};
      --control_->permits_;
      if (!control_->outcomes_.empty()) {
        outcome = std::move(control_->outcomes_.front());
        control_->outcomes_.pop_front();
      }
    }
    if (outcome && !outcome->ok()) return *outcome;
    if (!outcome && control_->judge) {
      Status status = control_->judge(record);
      if (!status.ok()) return status;
    }
    compute(record, &slots_[slot]);
    if (control_->tamper) control_->tamper(&slots_[slot].outputs);
    return Status::okay();
  }

  static void compute(const RunRecord& record, Slot* slot) {
    slot->twice.clear();
    slot->sum.clear();
    for (const std::vector<float>& row : record.rows) {
      float sum = 0;
      for (const float number : row) {
        slot->twice.push_back(2 * number);
        sum += number;
      }
      slot->sum.push_back(sum);
    }
    const auto rows = static_cast<std::int64_t>(record.rows.size());
    const auto width = static_cast<std::int64_t>(record.rows.front().size());
    slot->outputs = {{DType::kFloat32, {rows, width}, reinterpret_cast<std::byte*>(slot->twice.data())},
                     {DType::kFloat32, {rows}, reinterpret_cast<std::byte*>(slot->sum.data())}};
  }

  void complete_runs() {
    std::unique_lock lock(control_->mutex_);
    for (;;) {
      control_->changed_.wait(lock, [&] { return !control_->pending_.empty() || control_->ending_; });
      if (control_->pending_.empty()) return;
      const std::function<void()> complete = std::move(control_->pending_.front());
      control_->pending_.pop_front();
      lock.unlock();
      complete();
      lock.lock();
    }
  }

  const std::shared_ptr<LaneControl> control_;
  std::vector<Slot> slots_;
  std::thread completer_;
};

}  // namespace batched
