// One JavaScript environment (the main thread or a worker): where its results arrive.
//
// The only owner of the thread-safe function. Lanes hand deliveries to a mailbox from their threads;
// one call of the thread-safe function empties it, however many deliveries came meanwhile. The function
// keeps the process alive exactly while calls are pending.
//
// Threads: deliver() and batch_ran() from any; everything else from the environment's own thread.
#pragma once

#include <napi.h>

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "engine/batch_watchers.h"
#include "engine/call.h"
#include "engine/thread_annotations.h"

namespace batched {

class Environment final : public CompletionSink,
                          public BatchWatcher,
                          public std::enable_shared_from_this<Environment> {
 public:
  // The environment's own, made on first use and detached when the environment ends.
  static std::shared_ptr<Environment> of(Napi::Env env);

  // The JavaScript classes that native code makes instances of.
  Napi::Function engine_class() const { return engine_class_.Value(); }
  Napi::Function model_class() const { return model_class_.Value(); }
  void set_classes(Napi::Function engine_class, Napi::Function model_class) {
    engine_class_ = Napi::Persistent(engine_class);
    model_class_ = Napi::Persistent(model_class);
  }

  // The JavaScript function that settles calls; see ts/native.ts for what it is given.
  void set_receiver(Napi::Function receiver);
  // The one that is told of batches.
  void set_observer(Napi::Function observer);

  // From any lane's thread. After the environment has ended the delivery is dropped.
  void deliver(Delivery delivery) noexcept override;
  bool stays() const noexcept override { return !detached_.load(std::memory_order_relaxed); }

  // The same for reports, but for a bound: a thread that is blocked may miss some. They keep no process
  // alive.
  void batch_ran(const BatchReport& report) noexcept override;

  // Pending calls keep the process alive.
  void add_pending(std::size_t calls);

  // `action` is called on the environment's thread when it ends, unless it is forgotten before.
  void on_end(std::uint64_t key, std::function<void()> action);
  void forget_end(std::uint64_t key);
  std::uint64_t next_key() { return ++keys_; }

  // Writes a delivery's results into the numbers that ts/model/slots.ts reads, and gives its memory as an
  // ArrayBuffer.
  static Napi::Value encode(Napi::Env env, Delivery& delivery, Napi::Value* messages, Napi::Value* numbers);

 private:
  explicit Environment(Napi::Env env);
  void detach();
  void wake() BATCHED_REQUIRES(mutex_);
  void drain(Napi::Env env);
  void receive(Napi::Env env, Delivery delivery);
  void remove_pending(std::size_t calls);

  Napi::Env env_;
  Napi::ThreadSafeFunction wake_;
  Napi::FunctionReference receiver_;
  Napi::FunctionReference observer_;
  Napi::FunctionReference engine_class_;
  Napi::FunctionReference model_class_;
  std::size_t pending_ = 0;
  std::uint64_t keys_ = 0;
  std::atomic<bool> detached_ = false;  // read by lanes, for each call they settle
  std::vector<std::pair<std::uint64_t, std::function<void()>>> on_end_;

  Mutex mutex_;
  std::vector<Delivery> mailbox_ BATCHED_GUARDED_BY(mutex_);
  std::vector<BatchReport> reports_ BATCHED_GUARDED_BY(mutex_);
  bool woken_ BATCHED_GUARDED_BY(mutex_) = false;
  bool ended_ BATCHED_GUARDED_BY(mutex_) = false;
};

}  // namespace batched
