#include "device.h"

#include <pthread.h>
#include <sys/mman.h>

#include <array>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <map>
#include <mutex>
#include <random>
#include <set>
#include <string>
#include <string_view>
#include <thread>
#include <unordered_map>

namespace emulator {
namespace {

using Clock = std::chrono::steady_clock;

std::uint64_t number_of(const char* variable, std::uint64_t otherwise) {
  const char* const text = std::getenv(variable);
  return text == nullptr || *text == '\0' ? otherwise : std::strtoull(text, nullptr, 10);
}

// --- What the libraries share. None of it is ever destroyed: threads may outlive static objects.

std::mutex& mutex() {
  static auto* const one = new std::mutex;
  return *one;
}

struct Fault {
  std::string name;
  std::uint64_t nth;
  bool again;  // every nth, not only the first
  Error code;
  std::uint64_t seen = 0;
};

std::vector<Fault> read_faults() {
  std::vector<Fault> faults;
  const char* const text = std::getenv("CUDA_EMULATOR_FAIL");
  std::string rest = text == nullptr ? "" : text;
  while (!rest.empty()) {
    const std::string one = rest.substr(0, rest.find(','));
    rest.erase(0, one.size() + 1);
    const std::size_t first = one.find(':');
    const std::size_t second = one.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) {
      std::fprintf(stderr, "CUDA_EMULATOR_FAIL is name:n:code, not %s\n", one.c_str());
      std::abort();
    }
    const std::string nth = one.substr(first + 1, second - first - 1);
    const bool again = nth.starts_with('%');
    faults.push_back({one.substr(0, first), std::stoull(nth.substr(again ? 1 : 0)), again,
                      std::stoi(one.substr(second + 1))});
  }
  return faults;
}

class Log {
 public:
  Log() : path_(std::getenv("CUDA_EMULATOR_LOG")) {}
  void add(const char* name) {
    if (path_ == nullptr) return;
    std::array<char, 16> thread{};
    pthread_getname_np(pthread_self(), thread.data(), thread.size());
    lines_ +=
        std::to_string(Clock::now().time_since_epoch().count()) + ' ' + thread.data() + ' ' + name + '\n';
  }
  void write(std::size_t held) const {
    std::FILE* const file = path_ == nullptr ? nullptr : std::fopen(path_, "w");
    if (file == nullptr) return;
    std::fwrite(lines_.data(), 1, lines_.size(), file);
    std::fprintf(file, "held %zu\n", held);
    std::fclose(file);
  }

 private:
  const char* const path_;
  std::string lines_;
};

struct Machine {
  const int devices = static_cast<int>(number_of("CUDA_EMULATOR_DEVICES", 1));
  const std::size_t memory = number_of("CUDA_EMULATOR_MEMORY", std::size_t{16} << 30);
  const std::uint64_t jitter = number_of("CUDA_EMULATOR_JITTER", 0);
  const bool idle = number_of("CUDA_EMULATOR_IDLE", 0) > 0;
  std::vector<Fault> faults = read_faults();
  Log log;
  std::map<int, Error> lost;  // by device: what every call fails with since one has failed in that way
  std::set<std::shared_ptr<StreamState>> streams;

  Machine() { std::atexit(write_log); }
  static void write_log();
};

Machine& machine() {
  static auto* const one = new Machine;
  return *one;
}

thread_local int device_of_thread = 0;
thread_local bool in_stream = false;  // the thread is a stream's

// Holding the mutex. The error that this call or work is to end with.
Error fault_of(std::string_view name) {
  Error error = kSuccess;
  for (Fault& fault : machine().faults) {
    const bool any = fault.name == "any" && !name.starts_with("work ");
    if (!any && fault.name != name) continue;
    ++fault.seen;
    if (fault.again ? fault.seen % fault.nth == 0 : fault.seen == fault.nth) error = fault.code;
  }
  return error;
}

// As the driver: these stay.
bool stays(Error error) { return error >= 700 && error < 800; }

constexpr std::array kTexts = {
    ErrorText{kSuccess, "CUDA_SUCCESS", "cudaSuccess", "no error"},
    ErrorText{kInvalidValue, "CUDA_ERROR_INVALID_VALUE", "cudaErrorInvalidValue", "invalid argument"},
    ErrorText{kOutOfMemory, "CUDA_ERROR_OUT_OF_MEMORY", "cudaErrorMemoryAllocation", "out of memory"},
    ErrorText{100, "CUDA_ERROR_NO_DEVICE", "cudaErrorNoDevice", "no CUDA-capable device is detected"},
    ErrorText{kInvalidDevice, "CUDA_ERROR_INVALID_DEVICE", "cudaErrorInvalidDevice",
              "invalid device ordinal"},
    ErrorText{kNotReady, "CUDA_ERROR_NOT_READY", "cudaErrorNotReady", "device not ready"},
    ErrorText{700, "CUDA_ERROR_ILLEGAL_ADDRESS", "cudaErrorIllegalAddress",
              "an illegal memory access was encountered"},
    ErrorText{719, "CUDA_ERROR_LAUNCH_FAILED", "cudaErrorLaunchFailure", "unspecified launch failure"},
    ErrorText{kNotPermitted, "CUDA_ERROR_NOT_PERMITTED", "cudaErrorNotPermitted", "operation not permitted"},
    ErrorText{kNotSupported, "CUDA_ERROR_NOT_SUPPORTED", "cudaErrorNotSupported", "operation not supported"},
    ErrorText{kCaptureUnsupported, "CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED",
              "cudaErrorStreamCaptureUnsupported", "operation not permitted when stream is capturing"},
    ErrorText{kCaptureInvalidated, "CUDA_ERROR_STREAM_CAPTURE_INVALIDATED",
              "cudaErrorStreamCaptureInvalidated", "operation failed due to a previous error during capture"},
    ErrorText{kCaptureIsolation, "CUDA_ERROR_STREAM_CAPTURE_ISOLATION", "cudaErrorStreamCaptureIsolation",
              "dependency created on uncaptured work in another stream"},
    ErrorText{999, "CUDA_ERROR_UNKNOWN", "cudaErrorUnknown", "unknown error"},
};

}  // namespace

const ErrorText& text_of(Error error) {
  for (const ErrorText& one : kTexts) {
    if (one.code == error) return one;
  }
  return kTexts.back();
}

Error enter(const char* function) {
  const std::lock_guard lock(mutex());
  Machine& all = machine();
  all.log.add(function);
  if (in_stream) return kNotPermitted;
  Error& lost = all.lost[device_of_thread];
  if (lost != kSuccess) return lost;
  const Error error = fault_of(function);
  if (stays(error)) lost = error;
  return error;
}

// --- Streams

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
    if (lost == kSuccess) lost = fault_of(std::string("work ") + kind);
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

// As a free of memory does, whatever is captured meanwhile.
Error finish_device() {
  for (const auto& stream : streams_of_device()) stream->finish();
  const std::lock_guard lock(mutex());
  return machine().lost[current_device()];
}

}  // namespace

Error synchronize_device() {
  Error first = kSuccess;
  for (const auto& stream : streams_of_device()) {
    const Error error = stream->synchronize();
    if (first == kSuccess) first = error;
  }
  return first;
}

// --- Memory

namespace {

constexpr std::size_t kSpace = std::size_t{1} << 36;  // as much as TSan leaves
constexpr std::size_t kPage = 4096;

struct Block {
  std::size_t bytes;
  int device;
};

// Device addresses are the first half of a range; the bytes lie in the second half. The first half is never
// mapped. Addresses are not used again.
class Memory {
 public:
  Memory() {
    void* const range =
        mmap(nullptr, 2 * kSpace, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (range == MAP_FAILED) {
      std::perror("the emulated GPU has no memory");
      std::abort();
    }
    begin_ = static_cast<std::byte*>(range);
  }

  void* allocate(std::size_t bytes, int device) {
    const std::size_t size = (std::max<std::size_t>(bytes, 1) + kPage - 1) / kPage * kPage;
    if (used_[device] + size > machine().memory) return nullptr;
    std::byte* const address = begin_ + next_;
    if (mprotect(address + kSpace, size, PROT_READ | PROT_WRITE) != 0) return nullptr;
    std::memset(address + kSpace, 0xcd, size);  // never zero by luck
    next_ += size + kPage;                      // with a gap behind it
    used_[device] += size;
    blocks_[address] = {size, device};
    return address;
  }

  bool release(void* memory) {
    const auto found = blocks_.find(static_cast<std::byte*>(memory));
    if (found == blocks_.end()) return false;
    used_[found->second.device] -= found->second.bytes;
    madvise(found->first + kSpace, found->second.bytes, MADV_DONTNEED);
    mprotect(found->first + kSpace, found->second.bytes, PROT_NONE);
    blocks_.erase(found);
    return true;
  }

  bool owns(const void* address) const { return address >= begin_ && address < begin_ + kSpace; }
  std::size_t used(int device) { return used_[device]; }

  std::map<void*, std::size_t> pinned;

  bool is_pinned(const void* address) const {
    auto next = pinned.upper_bound(const_cast<void*>(address));
    if (next == pinned.begin()) return false;
    --next;
    return static_cast<const std::byte*>(address) < static_cast<const std::byte*>(next->first) + next->second;
  }

 private:
  std::byte* begin_ = nullptr;
  std::size_t next_ = kPage;
  std::map<std::byte*, Block> blocks_;
  std::unordered_map<int, std::size_t> used_;
};

Memory& memory_of_all() {
  static auto* const one = new Memory;
  return *one;
}

void Machine::write_log() {
  const std::lock_guard lock(mutex());
  std::size_t held = 0;
  for (int device = 0; device < machine().devices; ++device) held += memory_of_all().used(device);
  machine().log.write(held);
}

}  // namespace

Error allocate(std::size_t bytes, void** memory) {
  const std::lock_guard lock(mutex());
  *memory = memory_of_all().allocate(bytes, current_device());
  return *memory == nullptr ? kOutOfMemory : kSuccess;
}

Error release(void* memory) {
  if (memory == nullptr) return kSuccess;
  if (const Error error = finish_device(); error != kSuccess) return error;
  const std::lock_guard lock(mutex());
  return memory_of_all().release(memory) ? kSuccess : kInvalidValue;
}

Error memory(std::size_t* free, std::size_t* total) {
  const std::lock_guard lock(mutex());
  *total = machine().memory;
  *free = *total - memory_of_all().used(current_device());
  return kSuccess;
}

Error allocate_host(std::size_t bytes, void** memory) {
  *memory = std::aligned_alloc(kPage, (bytes + kPage) / kPage * kPage);
  if (*memory == nullptr) return kOutOfMemory;
  const std::lock_guard lock(mutex());
  memory_of_all().pinned[*memory] = bytes;
  return kSuccess;
}

Error release_host(void* memory) {
  if (memory == nullptr) return kSuccess;
  if (const Error error = finish_device(); error != kSuccess) return error;
  {
    const std::lock_guard lock(mutex());
    if (memory_of_all().pinned.erase(memory) == 0) return kInvalidValue;
  }
  std::free(memory);
  return kSuccess;
}

bool on_device(const void* address) { return memory_of_all().owns(address); }

std::byte* bytes_at(const void* address) {
  auto* const bytes = const_cast<std::byte*>(static_cast<const std::byte*>(address));
  return memory_of_all().owns(address) ? bytes + kSpace : bytes;
}

Error copy(void* to, const void* from, std::size_t bytes, Stream& stream, bool wait) {
  bool pageable_source = false;
  bool pageable_target = false;
  {
    const std::lock_guard lock(mutex());
    const Memory& all = memory_of_all();
    pageable_source = !all.owns(from) && !all.is_pinned(from);
    pageable_target = !all.owns(to) && !all.is_pinned(to);
  }
  Work work;
  // A graph reads the host's memory at every launch, whatever is there then.
  if (pageable_source && !stream.capturing()) {
    std::vector<std::byte> kept(static_cast<const std::byte*>(from),
                                static_cast<const std::byte*>(from) + bytes);
    work = [to, kept = std::move(kept)] { std::memcpy(bytes_at(to), kept.data(), kept.size()); };
  } else {
    work = [to, from, bytes] { std::memmove(bytes_at(to), bytes_at(from), bytes); };
  }
  const Error error = stream.enqueue({"copy", std::move(work), from});
  if (error != kSuccess || (!wait && !pageable_target)) return error;
  return stream.synchronize();
}

}  // namespace emulator
