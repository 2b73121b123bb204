#include <pthread.h>

#include <chrono>
#include <condition_variable>
#include <deque>
#include <random>
#include <thread>

#include "machine.h"

namespace emulator {
namespace {

using Clock = std::chrono::steady_clock;

thread_local int device_of_thread = 0;

}  // namespace

struct StreamState {
  std::mutex mutex;
  std::condition_variable changed;
  std::deque<Item> items;
  std::uint64_t enqueued = 0;
  std::uint64_t done = 0;
  bool ending = false;
  std::unique_ptr<Graph> capture;
  Error capture_error = kSuccess;
  std::mt19937 random{std::random_device{}()};
  int device = 0;
  std::thread thread;

  void work() {
    pthread_setname_np(pthread_self(), "gpu");
    in_stream = true;
    for (;;) {
      std::unique_lock lock(mutex);
      changed.wait(lock, [this] { return !items.empty() || ending; });
      if (items.empty()) return;
      Item item = std::move(items.front());
      items.pop_front();
      lock.unlock();
      const std::uint64_t jitter = machine().jitter;
      if (jitter > 0) std::this_thread::sleep_for(std::chrono::microseconds(random() % (jitter + 1)));
      if (may_run(item.kind)) item.work();
      item.work = nullptr;
      lock.lock();
      ++done;
      changed.notify_all();
    }
  }

  // What a failed kernel leaves behind it is not run, but for events: those that wait for them hear of the
  // error.
  bool may_run(const char* kind) const {
    const std::lock_guard lock(emulator::mutex());
    if (std::string_view(kind) == "event") return true;
    Error& lost = machine().lost[device];
    if (lost == kSuccess) lost = machine().fault_of(std::string("work ") + kind);
    return lost == kSuccess;
  }

  // For what has been enqueued so far. A stream that is captured does nothing, and is not to be waited for.
  Error synchronize() {
    {
      std::unique_lock lock(mutex);
      if (capture != nullptr) return capture_error = kCaptureUnsupported;
      wait(lock);
    }
    const std::lock_guard lock(emulator::mutex());
    return machine().lost[device];
  }
  void finish() {
    std::unique_lock lock(mutex);
    wait(lock);
  }

 private:
  void wait(std::unique_lock<std::mutex>& lock) {
    changed.wait(lock, [this, until = enqueued] { return done >= until; });
  }
};

Stream::Stream(int device) : device_(device), state_(std::make_shared<StreamState>()) {
  state_->device = device;
  state_->thread = std::thread([state = state_.get()] { state->work(); });
  const std::lock_guard lock(mutex());
  machine().streams.insert(state_);
}

Stream::~Stream() {
  {
    const std::lock_guard lock(mutex());
    machine().streams.erase(state_);
  }
  {
    const std::lock_guard lock(state_->mutex);
    state_->ending = true;
    state_->changed.notify_all();
  }
  state_->thread.join();
}

Error Stream::enqueue(Item item) {
  const std::lock_guard lock(state_->mutex);
  if (machine().idle && std::string_view(item.kind) == "kernel") return kSuccess;
  if (state_->capture != nullptr) {
    state_->capture->push_back(std::move(item));
  } else {
    state_->items.push_back(std::move(item));
    ++state_->enqueued;
    state_->changed.notify_all();
  }
  return kSuccess;
}

Error Stream::synchronize() { return state_->synchronize(); }

bool Stream::capturing() const {
  const std::lock_guard lock(state_->mutex);
  return state_->capture != nullptr;
}

Error Stream::begin_capture() {
  {
    const std::lock_guard lock(state_->mutex);
    if (state_->capture != nullptr) return kCaptureUnsupported;
    state_->capture = std::make_unique<Graph>();
    state_->capture_error = kSuccess;
  }
  // Long enough for others to come in between.
  std::this_thread::sleep_for(std::chrono::microseconds(20 * machine().jitter));
  return kSuccess;
}

Error Stream::end_capture(Graph* graph) {
  const std::lock_guard lock(state_->mutex);
  if (state_->capture == nullptr) return kInvalidValue;
  *graph = std::move(*state_->capture);
  state_->capture = nullptr;
  return state_->capture_error == kSuccess ? kSuccess : kCaptureInvalidated;
}

Error Stream::launch(std::shared_ptr<const Graph> graph) {
  return enqueue("kernel", [graph = std::move(graph)] {
    for (const Item& item : *graph) item.work();
  });
}

// --- Events

struct Event::State {
  std::mutex mutex;
  std::condition_variable changed;
  std::uint64_t recorded = 0;
  std::uint64_t over = 0;
  Clock::time_point when;
  void wait(std::uint64_t number) {
    std::unique_lock lock(mutex);
    changed.wait(lock, [&] { return over >= number; });
  }
};

Event::Event() : state_(std::make_shared<State>()) {}
Event::~Event() = default;

Error Stream::record(Event& event) {
  if (capturing()) return kNotSupported;
  std::uint64_t number = 0;
  {
    const std::lock_guard lock(event.state_->mutex);
    number = ++event.state_->recorded;
  }
  return enqueue("event", [state = event.state_, number] {
    const std::lock_guard lock(state->mutex);
    state->over = number;
    state->when = Clock::now();
    state->changed.notify_all();
  });
}

Error Stream::wait_for(Event& event) {
  if (capturing()) {
    const std::lock_guard lock(state_->mutex);
    return state_->capture_error = kCaptureIsolation;
  }
  std::uint64_t number = 0;
  {
    const std::lock_guard lock(event.state_->mutex);
    number = event.state_->recorded;
  }
  return enqueue("event", [state = event.state_, number] { state->wait(number); });
}

Error Event::synchronize() {
  std::uint64_t number = 0;
  {
    const std::lock_guard lock(state_->mutex);
    number = state_->recorded;
  }
  state_->wait(number);
  const std::lock_guard lock(mutex());
  return machine().lost[device_of_thread];
}

Error Event::since(const Event& other, float* milliseconds) const {
  const std::scoped_lock lock(state_->mutex, other.state_->mutex);
  if (state_->over == 0 || other.state_->over == 0) return kInvalidValue;
  if (state_->over < state_->recorded || other.state_->over < other.state_->recorded) return kNotReady;
  *milliseconds = std::chrono::duration<float, std::milli>(state_->when - other.state_->when).count();
  return kSuccess;
}

// --- Devices

int device_count() { return machine().devices; }
int current_device() { return device_of_thread; }

Error use_device(int device) {
  if (device < 0 || device >= device_count()) return kInvalidDevice;
  device_of_thread = device;
  return kSuccess;
}

Stream& default_stream() {
  static std::mutex own;
  static auto* const streams = new std::map<int, std::unique_ptr<Stream>>;
  const std::lock_guard lock(own);
  auto& stream = (*streams)[current_device()];
  if (stream == nullptr) stream = std::make_unique<Stream>(current_device());
  return *stream;
}

namespace {

std::vector<std::shared_ptr<StreamState>> streams_of_device() {
  const std::lock_guard lock(mutex());
  std::vector<std::shared_ptr<StreamState>> streams;
  for (const auto& stream : machine().streams) {
    if (stream->device == current_device()) streams.push_back(stream);
  }
  return streams;
}

}  // namespace

Error finish_device() {
  for (const auto& stream : streams_of_device()) stream->finish();
  const std::lock_guard lock(mutex());
  return machine().lost[current_device()];
}

Error synchronize_device() {
  Error first = kSuccess;
  for (const auto& stream : streams_of_device()) {
    const Error error = stream->synchronize();
    if (first == kSuccess) first = error;
  }
  return first;
}

}  // namespace emulator
