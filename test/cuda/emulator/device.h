// A GPU that is a few threads of this process: what NVIDIA's libraries here stand on.
//
// Streams are real threads, in order within a stream and in no order between two of them but what events
// give: work that lacks an event reads what is not there yet. Device memory lies at addresses that a program
// can't touch, as on a GPU; only work in a stream reads and writes it, and after its free it is gone.
//
// What a test may ask for, in the environment:
//   CUDA_EMULATOR_DEVICES   GPUs, 1 if not set
//   CUDA_EMULATOR_MEMORY    bytes of memory that each has, 16 GiB if not set
//   CUDA_EMULATOR_JITTER    work in a stream waits for up to so many microseconds before it begins, at random
//   CUDA_EMULATOR_IDLE      if set, kernels do nothing: what is left is what a run costs the host
//   CUDA_EMULATOR_FAIL      calls that fail: name:n:code, the n-th call of a function, from 1; with %n every
//   n-th.
//                           `any` is every function, 'work kernel' and 'work copy' what a stream does.
//                           Several have a comma between them. Codes of 700 to 799 stay: the device is lost.
//   CUDA_EMULATOR_LOG       a file, written at exit: a line of nanoseconds (monotonic), thread and name per
//   call, and
//                           one with the bytes of memory that are still held
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#define EMULATOR_API __attribute__((visibility("default")))

namespace emulator {

using Error = int;
inline constexpr Error kSuccess = 0;
inline constexpr Error kInvalidValue = 1;
inline constexpr Error kOutOfMemory = 2;
inline constexpr Error kInvalidDevice = 101;
inline constexpr Error kNotReady = 600;
inline constexpr Error kCaptureUnsupported = 900;
inline constexpr Error kCaptureInvalidated = 901;
inline constexpr Error kCaptureIsolation = 905;
inline constexpr Error kNotPermitted = 800;  // of what a stream calls the host for
inline constexpr Error kNotSupported = 801;

struct ErrorText {
  Error code;
  const char* name;
  const char* runtime_name;
  const char* text;
};
EMULATOR_API const ErrorText& text_of(Error error);

// At the beginning of every function of the libraries: writes the log; not kSuccess if the call is to fail.
EMULATOR_API Error enter(const char* function);

using Work = std::function<void()>;

// What a stream does, or a graph has recorded.
struct Item {
  const char* kind;  // kernel, copy, event or host
  Work work;
  const void* from = nullptr;  // of a copy
};
using Graph = std::vector<Item>;

class Event;
struct StreamState;

class EMULATOR_API Stream {
 public:
  explicit Stream(int device);
  ~Stream();  // once its work is done
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  int device() const { return device_; }
  Error enqueue(Item item);
  Error enqueue(const char* kind, Work work) { return enqueue(Item{kind, std::move(work)}); }
  Error wait_for(Event& event);
  Error record(Event& event);
  Error synchronize();

  Error begin_capture();
  Error end_capture(Graph* graph);
  bool capturing() const;
  Error launch(std::shared_ptr<const Graph> graph);

 private:
  const int device_;
  const std::shared_ptr<StreamState> state_;
};

class EMULATOR_API Event {
 public:
  Event();
  ~Event();
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;

  Error synchronize();
  // Milliseconds since another; both have to be over.
  Error since(const Event& other, float* milliseconds) const;

 private:
  friend class Stream;
  struct State;
  std::shared_ptr<State> state_;
};

EMULATOR_API int device_count();
// The calling thread's.
EMULATOR_API int current_device();
EMULATOR_API Error use_device(int device);
// The device's default stream.
EMULATOR_API Stream& default_stream();
inline Stream& stream_or_default(void* handle) {
  return handle == nullptr ? default_stream() : *static_cast<Stream*>(handle);
}
// Waits for all streams of the calling thread's device. Fails while one of them is captured, and spoils that.
EMULATOR_API Error synchronize_device();

EMULATOR_API Error allocate(std::size_t bytes, void** memory);
EMULATOR_API Error release(void* memory);
EMULATOR_API Error memory(std::size_t* free, std::size_t* total);
// Pinned memory of the host.
EMULATOR_API Error allocate_host(std::size_t bytes, void** memory);
EMULATOR_API Error release_host(void* memory);

// Where work in a stream finds the bytes of an address: of a device's memory, or of the host's.
EMULATOR_API bool on_device(const void* address);
EMULATOR_API std::byte* bytes_at(const void* address);
template <typename T>
T* at(const void* address) {
  return reinterpret_cast<T*>(bytes_at(address));
}

// In stream order, as the kinds of memory at both ends have it: nothing that is pageable is read or written
// after this has returned. With `wait`, all of it is over then.
EMULATOR_API Error copy(void* to, const void* from, std::size_t bytes, Stream& stream, bool wait);

struct Size {
  unsigned x;
  unsigned y;
  unsigned z;
};

// Launches a kernel by its name, mangled. Those that nobody has written do nothing.
EMULATOR_API Error launch_kernel(const char* name, Size grid, Size block, void** arguments, Stream& stream);

}  // namespace emulator
