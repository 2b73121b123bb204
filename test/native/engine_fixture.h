// What the engine's tests share: an engine over gated lanes with a fake clock, calls of the doubling
// model, and the check that no row was lost or counted twice.
#pragma once

#include <gtest/gtest.h>

#include <condition_variable>
#include <cstring>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "engine/engine.h"
#include "fake_clock.h"
#include "gated_lane.h"
#include "recording_sink.h"

namespace batched {

// A row of `length` numbers, all of them `number`.
struct RowSpec {
  float number = 1;
  std::size_t length = 1;
};

inline std::unique_ptr<Call> make_call(std::shared_ptr<CompletionSink> sink, std::uint64_t id,
                                       const std::vector<RowSpec>& rows) {
  auto call = std::make_unique<Call>();
  call->sink = std::move(sink);
  call->id = id;
  call->cancellable = true;
  call->rows.reset(rows.size());
  call->inputs.reset(rows.size());
  for (const RowSpec& row : rows) call->bytes += row.length * sizeof(float);
  std::byte* to = call->slab(call->bytes);
  for (std::size_t r = 0; r < rows.size(); ++r) {
    call->rows[r].length = 0;  // prepare() finds it
    Dims dims;
    dims.push_back(static_cast<std::int64_t>(rows[r].length));
    call->inputs[r] = {to, dims};
    for (std::size_t i = 0; i < rows[r].length; ++i, to += sizeof(float)) {
      std::memcpy(to, &rows[r].number, sizeof(float));
    }
  }
  return call;
}

inline std::uint64_t ended(const Counters& counters) {
  return counters.processed + counters.failed + counters.cancelled + counters.timed_out + counters.closed;
}

class EngineTest : public testing::Test {
 protected:
  // A lane for the engine that start() makes. Its control may be changed until then.
  LaneControl& add_lane(bool async = false, std::size_t slots = 1) {
    controls_.push_back(std::make_shared<LaneControl>());
    controls_.back()->async = async;
    controls_.back()->slots = slots;
    return *controls_.back();
  }

  void start(Signature signature = doubling_signature()) {
    std::vector<std::unique_ptr<Lane>> lanes;
    for (const std::shared_ptr<LaneControl>& control : controls_) {
      lanes.push_back(std::make_unique<GatedLane>(control));
    }
    engine_ = std::make_unique<Engine>(options_, std::move(signature), std::move(lanes), clock_);
  }

  std::unique_ptr<Call> call(std::uint64_t id, const std::vector<RowSpec>& rows) {
    return make_call(sink_, id, rows);
  }

  Status submit(std::unique_ptr<Call> call) {
    Status status = engine_->prepare(call.get());
    if (status.ok()) status = engine_->submit(call);
    return status;
  }
  // A call of one row that is named after the call.
  void submit_row(std::uint64_t id, std::size_t length = 1) {
    ASSERT_TRUE(submit(call(id, {{static_cast<float>(id), length}})).ok());
  }
  // One hand-over of many calls of one row: ids from `first` on.
  void submit_rows(std::uint64_t first, std::size_t count, std::size_t length = 1) {
    std::vector<std::unique_ptr<Call>> calls;
    for (std::size_t i = 0; i < count; ++i) {
      calls.push_back(call(first + i, {{static_cast<float>(first + i), length}}));
      ASSERT_TRUE(engine_->prepare(calls.back().get()).ok());
    }
    std::vector<Status> statuses(count);
    engine_->submit(calls, statuses);
    for (const Status& status : statuses) ASSERT_TRUE(status.ok());
  }

  // Closes the engine and waits for the last lane, so that all of its counting is done.
  void close(bool drain = true) {
    std::mutex mutex;
    std::condition_variable changed;
    bool closed = false;
    engine_->close(drain, [&] {
      const std::lock_guard lock(mutex);
      closed = true;
      changed.notify_all();
    });
    std::unique_lock lock(mutex);
    if (!changed.wait_for(lock, kHangDeadline, [&] { return closed; }))
      fail_hang("the engine does not close");
  }

  // With everything over: every admitted row ended in one way, and nothing is held.
  void expect_balance() {
    const EngineStats stats = engine_->stats();
    EXPECT_EQ(stats.counters.admitted, ended(stats.counters));
    EXPECT_EQ(stats.queue_rows, 0U);
    EXPECT_EQ(stats.queue_tokens, 0U);
    EXPECT_EQ(stats.held_bytes, 0U);
    EXPECT_TRUE(sink_->repeated().empty());
    EXPECT_TRUE(sink_->within_bounds());
  }

  void expect_row_result(std::uint64_t id, float number, std::size_t length) {
    const RecordedResult result = sink_->result(id);
    ASSERT_EQ(result.code, Code::kOk) << id << ": " << result.message;
    ASSERT_EQ(result.parts.size(), 2U);
    EXPECT_EQ(result.parts[0].dims, (std::vector<std::int64_t>{1, static_cast<std::int64_t>(length)}));
    EXPECT_EQ(result.parts[0].numbers, std::vector<float>(length, 2 * number));
    EXPECT_EQ(result.parts[1].dims, (std::vector<std::int64_t>{1}));
    EXPECT_EQ(result.parts[1].numbers, std::vector<float>(1, number * static_cast<float>(length)));
  }

  FakeClock clock_;
  std::shared_ptr<RecordingSink> sink_ = std::make_shared<RecordingSink>();
  EngineOptions options_;
  std::vector<std::shared_ptr<LaneControl>> controls_;
  std::unique_ptr<Engine> engine_;  // destroyed before the clock
};

}  // namespace batched
