// Dynamic batching for one model: calls go in, batches run on lanes, results come out through sinks.
//
//   Engine engine(options, signature, std::move(lanes), steady_clock());
//   Status status = engine.submit(call);           // any thread, never blocks
//   ... call->sink->deliver(...) from a lane's thread, once per call that was admitted
//
// Start reading here, then batch_policy.h (which rows, when) and dispatcher.h (who owns what).
//
// Guarantees
//   1. Work conservation: an idle lane and a waiting row do not coexist, unless `timeout` is set.
//   2. Bounded waiting: every dispatch takes the anchor, the row of the earliest virtual deadline. So a row
//      enqueued at t with slack s is bound by the (R + 1)-th dispatch at the latest, where R rows have an
//      earlier one: of those that wait at t, and of those admitted in (t, t + s - m], m being the least
//      slack among them (at least -most_slack; 0 unless priorities are negative). With L lanes and batches
//      of at most D nanoseconds, retries included, that is within  ceil((R + 1) / L) * D, and with `timeout`
//      within that much more. Where batches of b rows form around the anchors, R / b takes R's place.
//   3. Every admitted call settles exactly once.
//   4. Memory: the queue holds at most max_rows rows (or one larger call) and max_bytes bytes of inputs,
//      a lane holds slots() batches.
#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "batch_layout.h"
#include "batch_watchers.h"
#include "call.h"
#include "clock.h"
#include "dispatcher.h"
#include "lane.h"
#include "lane_thread.h"
#include "stats.h"
#include "status.h"
#include "tensor.h"

namespace batched {

struct EngineOptions {
  PolicyOptions policy;
  QueueBounds bounds;
  PaddingSide padding_side = PaddingSide::kRight;
  ShapeLadder ladder;  // what batches are filled up to; max_rows and max_tokens are the policy's
  std::uint32_t max_item_length = 0;  // tokens; 0: no bound
  CostModel cost;                     // what is known of the model before the first batch, as by warm_up()
};

class Engine {
 public:
  // Starts the lanes' threads.
  Engine(const EngineOptions& options, Signature signature, std::vector<std::unique_ptr<Lane>> lanes,
         Clock& clock);
  // Closes without draining, interrupts what runs and joins. Not from a lane's thread.
  ~Engine();
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  const Signature& signature() const { return signature_; }
  const EngineOptions& options() const { return options_; }
  Clock& clock() const { return clock_; }

  // Spare calls, as new: cheaper to fill than to make.
  void spare_calls(std::vector<std::unique_ptr<Call>>* calls) { dispatcher_.pool().take_all(calls); }

  // Checks the call's rows against the signature and gives each its length (unless it has one) and
  // group. kInvalidInput, naming what is wrong: the call must then not be submitted. Any thread.
  Status prepare(Call* call) const;

  // Admits a prepared call, all its rows or none. On success the call is moved from, else it is
  // untouched. Never blocks. kQueueFull (try later), kClosed, kDeadline, kDeviceLost.
  Status submit(std::unique_ptr<Call>& call);
  void submit(std::span<std::unique_ptr<Call>> calls, std::span<Status> statuses);

  bool cancel(const CompletionSink* sink, std::uint64_t id) { return dispatcher_.cancel(sink, id); }
  void abandon(const CompletionSink* sink) { dispatcher_.abandon(sink); }
  void withdraw(const CompletionSink* sink) { dispatcher_.withdraw(sink); }

  // Stops intake; with `drain` what was admitted still runs, without it what waits settles as kClosed.
  // Returns at once; `closed` is called when the last lane has stopped.
  void close(bool drain, std::function<void()> closed);

  // `watcher` hears of every batch that is run from now on, under `name`, as often as it is added or not.
  void watch(std::shared_ptr<BatchWatcher> watcher, std::string name) {
    dispatcher_.watchers().add(std::move(watcher), std::move(name));
  }
  void unwatch(const BatchWatcher* watcher) { dispatcher_.watchers().remove(watcher); }

  EngineStats stats();
  void clear_stats();
  CostModel cost() { return dispatcher_.cost(); }
  bool healthy() { return dispatcher_.healthy(); }
  bool closing() { return dispatcher_.closing(); }

 private:
  void start_timer();

  const EngineOptions options_;
  const Signature signature_;
  const BatchLayout layout_;
  Clock& clock_;
  const std::uint64_t seed_;  // of the rows' group hashes
  Dispatcher dispatcher_;
  std::vector<std::unique_ptr<LaneThread>> lanes_;
  std::once_flag timer_once_;
  std::thread timer_;
};

}  // namespace batched
