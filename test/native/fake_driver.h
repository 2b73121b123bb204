// NVIDIA's driver without a GPU: streams are threads that do what was enqueued in order, device memory is the
// host's, and every call can be made to fail. It is stricter than the real one: addresses are checked against
// what was allocated, and what is left behind is counted.
//
// One at a time, since the driver's functions take no object. Calls of driver functions may come from any
// thread.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "engine/clock.h"
#include "gpu/cuda_driver.h"
#include "hang_deadline.h"

namespace batched::testing {

class FakeDriver {
 public:
  // `inline_streams`: what is enqueued is done at once, by who enqueues it, as a session on the CPU does.
  explicit FakeDriver(int devices = 1, bool inline_streams = false)
      : devices_(devices), inline_streams_(inline_streams) {
    if (current() != nullptr) std::abort();
    current() = this;
  }
  ~FakeDriver() { current() = nullptr; }
  FakeDriver(const FakeDriver&) = delete;
  FakeDriver& operator=(const FakeDriver&) = delete;

  const cuda::Driver& table() const { return table_; }

  // What the device says that any run took.
  static constexpr Nanos kComputed = 2 * kMillisecond;

  // --- faults ----------------------------------------------------------------------------------------
  // The `call`-th call from now on (0: the next) fails with `result`. Where `sticky`, so do all that follow,
  // and what is enqueued is not done any more.
  void fail_call(std::size_t call, cuda::Result result, bool sticky) {
    const std::lock_guard lock(mutex_);
    fail_at_ = calls_ + call;
    fail_with_ = result;
    sticky_ = sticky;
  }
  std::size_t calls() const {
    const std::lock_guard lock(mutex_);
    return calls_;
  }
  // Calls of one function so far, by its name in the table.
  std::size_t calls(const std::string& name) const {
    const std::lock_guard lock(mutex_);
    const auto found = calls_by_name_.find(name);
    return found == calls_by_name_.end() ? 0 : found->second;
  }
  // Streams, events, graphs and memory that nobody has given back.
  std::size_t alive() const {
    const std::lock_guard lock(mutex_);
    return streams_.size() + events_.size() + graphs_.size() + executables_.size() + allocations_.size();
  }
  // Device memory that may be allocated in all.
  void limit_memory(std::size_t bytes) {
    const std::lock_guard lock(mutex_);
    memory_limit_ = bytes;
  }

  // --- what stands for kernels -------------------------------------------------------------------------
  // Does `work` when the stream has come that far. In a graph it is a node of that type.
  void enqueue(cuda::Stream stream, std::function<void()> work, int type = cuda::kNodeKernel) {
    stream_of(stream)->push(std::move(work), type);
  }

 private:
  struct Node {
    std::function<void()> work;
    int type = cuda::kNodeKernel;
    const void* from = nullptr;  // of a copy
  };
  struct FakeGraph {
    std::vector<Node> nodes;
  };

  // What is enqueued is done in order, on a thread of the stream's own.
  class FakeStream {
   public:
    FakeStream() : thread_([this] { loop(); }) {}
    ~FakeStream() {
      {
        const std::lock_guard lock(mutex_);
        ending_ = true;
      }
      changed_.notify_all();
      thread_.join();
    }
    FakeStream(const FakeStream&) = delete;
    FakeStream& operator=(const FakeStream&) = delete;

    void push(std::function<void()> work, int type = cuda::kNodeKernel, const void* from = nullptr) {
      std::unique_lock lock(mutex_);
      if (recorded_) {
        recorded_->nodes.push_back({std::move(work), type, from});
        return;
      }
      if (current()->inline_streams_) {
        lock.unlock();
        work();
        return;
      }
      work_.push_back(std::move(work));
      changed_.notify_all();
    }
    cuda::Result begin_capture() {
      const std::lock_guard lock(mutex_);
      recorded_ = std::make_shared<FakeGraph>();
      spoiled_ = false;
      return cuda::kSuccess;
    }
    // Null if something was called that a capture forbids.
    std::shared_ptr<FakeGraph> end_capture() {
      const std::lock_guard lock(mutex_);
      const std::shared_ptr<FakeGraph> graph = std::exchange(recorded_, nullptr);
      return spoiled_ ? nullptr : graph;
    }
    bool capturing() {
      const std::lock_guard lock(mutex_);
      spoiled_ = spoiled_ || recorded_;
      return recorded_ != nullptr;
    }
    void synchronize() {
      std::unique_lock lock(mutex_);
      if (!changed_.wait_for(lock, kHangDeadline, [this] { return work_.empty() && !working_; })) {
        fail_hang("a stream does not come to its end");
      }
    }

   private:
    void loop() {
      std::unique_lock lock(mutex_);
      for (;;) {
        changed_.wait(lock, [this] { return !work_.empty() || ending_; });
        if (work_.empty()) return;
        const std::function<void()> work = std::move(work_.front());
        work_.pop_front();
        working_ = true;
        lock.unlock();
        if (!current()->dead_) work();
        lock.lock();
        working_ = false;
        changed_.notify_all();
      }
    }

    std::mutex mutex_;
    std::condition_variable changed_;
    std::deque<std::function<void()>> work_;
    std::shared_ptr<FakeGraph> recorded_;
    bool spoiled_ = false;
    bool working_ = false;
    bool ending_ = false;
    std::thread thread_;
  };

  // Counts how often it was recorded and how often a stream has come to such a record.
  struct FakeEvent {
    std::mutex mutex;
    std::condition_variable changed;
    std::size_t recorded = 0;
    std::size_t reached = 0;

    std::size_t last() {
      const std::lock_guard lock(mutex);
      return recorded;
    }
    void await(std::size_t record) {
      std::unique_lock lock(mutex);
      if (!changed.wait_for(lock, kHangDeadline, [&] { return reached >= record || current()->dead_; })) {
        fail_hang("an event is never reached");
      }
    }
  };

  struct Allocation {
    std::size_t bytes;
    bool device;
  };

  static FakeDriver*& current() {
    static FakeDriver* driver = nullptr;
    return driver;
  }

  // Counts the call; the result it is to fail with.
  cuda::Result begin(const char* name) {
    std::unique_lock lock(mutex_);
    const std::size_t call = calls_++;
    ++calls_by_name_[name];
    if (call < fail_at_ || (call > fail_at_ && !sticky_)) return cuda::kSuccess;
    if (sticky_) die(&lock);
    return fail_with_;
  }

  // No kernel touches memory after an error that sticks.
  void die(std::unique_lock<std::mutex>* lock) {
    dead_ = true;
    const auto streams = streams_;
    const auto events = events_;
    lock->unlock();
    for (const auto& [handle, event] : events) {
      const std::lock_guard inner(event->mutex);
      event->changed.notify_all();
    }
    for (const auto& [handle, stream] : streams) stream->synchronize();
  }

  // Runs `body` unless the call is to fail.
  template <typename Body>
  static cuda::Result perform(const char* name, Body body) {
    FakeDriver& self = *current();
    if (const cuda::Result result = self.begin(name); result != cuda::kSuccess) return result;
    return body(self);
  }
  // What is given back is gone, whatever the driver says.
  template <typename Body>
  static cuda::Result give_back(const char* name, Body body) {
    FakeDriver& self = *current();
    body(self);
    return self.begin(name);
  }

  std::shared_ptr<FakeStream> stream_of(cuda::Stream stream) {
    const std::lock_guard lock(mutex_);
    return streams_.at(stream);
  }
  std::shared_ptr<FakeEvent> event_of(cuda::Event event) {
    const std::lock_guard lock(mutex_);
    return events_.at(event);
  }
  // A copy beyond what was allocated is a defect of the code under test.
  void check_range(const void* memory, std::size_t bytes) const {
    const std::lock_guard lock(mutex_);
    const auto at = reinterpret_cast<std::uintptr_t>(memory);
    auto next = allocations_.upper_bound(at);
    if (next == allocations_.begin() || at + bytes > std::prev(next)->first + std::prev(next)->second.bytes) {
      fail_hang("a copy beyond what was allocated");
    }
  }
  cuda::Result take(void** memory, std::size_t bytes, bool device) {
    const std::lock_guard lock(mutex_);
    std::size_t used = 0;
    for (const auto& [address, allocation] : allocations_) used += allocation.device ? allocation.bytes : 0;
    if (device && used + bytes > memory_limit_) return cuda::kErrorOutOfMemory;
    *memory = std::malloc(bytes);
    allocations_[reinterpret_cast<std::uintptr_t>(*memory)] = {bytes, device};
    return cuda::kSuccess;
  }
  void drop(const void* memory) {
    const std::lock_guard lock(mutex_);
    if (allocations_.erase(reinterpret_cast<std::uintptr_t>(memory)) != 1) fail_hang("freed twice");
    std::free(const_cast<void*>(memory));
  }
  std::shared_ptr<FakeGraph> graph_of(cuda::Graph graph) {
    const std::lock_guard lock(mutex_);
    return graphs_.at(graph);
  }
  template <typename Handle, typename Object>
  Handle keep(std::map<Handle, std::shared_ptr<Object>>* objects,
              std::shared_ptr<Object> object = std::make_shared<Object>()) {
    const std::lock_guard lock(mutex_);
    const auto handle = reinterpret_cast<Handle>(++handles_);
    (*objects)[handle] = std::move(object);
    return handle;
  }
  template <typename Handle, typename Object>
  std::shared_ptr<Object> remove(std::map<Handle, std::shared_ptr<Object>>* objects, Handle handle) {
    const std::lock_guard lock(mutex_);
    std::shared_ptr<Object> object = objects->at(handle);
    objects->erase(handle);
    return object;  // destroyed outside the lock
  }

  static constexpr cuda::Result kCaptureForbids = 900;

  static cuda::Driver make_table() {
    using cuda::DevicePtr;
    using cuda::kSuccess;
    cuda::Driver driver;
    driver.init = [](unsigned) { return kSuccess; };
    driver.driver_version = [](int* version) {
      *version = 13000;
      return kSuccess;
    };
    driver.device_count = [](int* count) {
      return perform("device_count", [&](FakeDriver& self) {
        *count = self.devices_;
        return kSuccess;
      });
    };
    driver.device_get = [](int* device, int ordinal) {
      return perform("device_get", [&](FakeDriver&) {
        *device = ordinal;
        return kSuccess;
      });
    };
    driver.device_name = [](char* name, int length, int) {
      std::strncpy(name, "fake", static_cast<std::size_t>(length));
      return kSuccess;
    };
    driver.primary_context_retain = [](cuda::Context* context, int device) {
      return perform("primary_context_retain", [&](FakeDriver&) {
        *context = reinterpret_cast<cuda::Context>(std::uintptr_t{1} + static_cast<std::uintptr_t>(device));
        return kSuccess;
      });
    };
    driver.set_current = [](cuda::Context) {
      return perform("set_current", [](FakeDriver&) { return kSuccess; });
    };
    driver.memory_info = [](std::size_t* free, std::size_t* total) {
      return perform("memory_info", [&](FakeDriver& self) {
        const std::lock_guard lock(self.mutex_);
        *free = *total = self.memory_limit_;
        return kSuccess;
      });
    };
    driver.allocate = [](DevicePtr* memory, std::size_t bytes) {
      return perform("allocate", [&](FakeDriver& self) {
        void* made = nullptr;
        const cuda::Result result = self.take(&made, bytes, /*device=*/true);
        *memory = reinterpret_cast<DevicePtr>(made);
        return result;
      });
    };
    driver.free = [](DevicePtr memory) {
      return give_back("free", [&](FakeDriver& self) { self.drop(reinterpret_cast<void*>(memory)); });
    };
    driver.host_allocate = [](void** memory, std::size_t bytes, unsigned) {
      return perform("host_allocate", [&](FakeDriver& self) { return self.take(memory, bytes, false); });
    };
    driver.host_free = [](void* memory) {
      return give_back("host_free", [&](FakeDriver& self) { self.drop(memory); });
    };
    driver.stream_create = [](cuda::Stream* stream, unsigned) {
      return perform("stream_create", [&](FakeDriver& self) {
        *stream = self.keep(&self.streams_);
        return kSuccess;
      });
    };
    driver.stream_destroy = [](cuda::Stream stream) {
      return give_back("stream_destroy", [&](FakeDriver& self) { self.remove(&self.streams_, stream); });
    };
    driver.stream_synchronize = [](cuda::Stream stream) {
      return perform("stream_synchronize", [&](FakeDriver& self) {
        if (self.stream_of(stream)->capturing()) return kCaptureForbids;
        self.stream_of(stream)->synchronize();
        return self.dead_ ? self.fail_with_ : kSuccess;
      });
    };
    driver.stream_wait_event = [](cuda::Stream stream, cuda::Event event, unsigned) {
      return perform("stream_wait_event", [&](FakeDriver& self) {
        const std::shared_ptr<FakeEvent> waited = self.event_of(event);
        self.stream_of(stream)->push([waited, record = waited->last()] { waited->await(record); });
        return kSuccess;
      });
    };
    driver.event_create = [](cuda::Event* event, unsigned) {
      return perform("event_create", [&](FakeDriver& self) {
        *event = self.keep(&self.events_);
        return kSuccess;
      });
    };
    driver.event_destroy = [](cuda::Event event) {
      return give_back("event_destroy", [&](FakeDriver& self) { self.remove(&self.events_, event); });
    };
    driver.event_record = [](cuda::Event event, cuda::Stream stream) {
      return perform("event_record", [&](FakeDriver& self) {
        const std::shared_ptr<FakeEvent> recorded = self.event_of(event);
        std::size_t record = 0;
        {
          const std::lock_guard lock(recorded->mutex);
          record = ++recorded->recorded;
        }
        self.stream_of(stream)->push([recorded, record] {
          const std::lock_guard lock(recorded->mutex);
          recorded->reached = record;
          recorded->changed.notify_all();
        });
        return kSuccess;
      });
    };
    driver.event_synchronize = [](cuda::Event event) {
      return perform("event_synchronize", [&](FakeDriver& self) {
        const std::shared_ptr<FakeEvent> waited = self.event_of(event);
        waited->await(waited->last());
        return self.dead_ ? self.fail_with_ : kSuccess;
      });
    };
    driver.event_elapsed = [](float* milliseconds, cuda::Event, cuda::Event) {
      return perform("event_elapsed", [&](FakeDriver&) {
        *milliseconds = static_cast<float>(kComputed) / kMillisecond;
        return kSuccess;
      });
    };
    driver.copy_in = [](DevicePtr to, const void* from, std::size_t bytes, cuda::Stream stream) {
      return perform("copy_in", [&](FakeDriver& self) {
        self.check_range(reinterpret_cast<void*>(to), bytes);
        self.check_range(from, bytes);
        self.stream_of(stream)->push([=] { std::memcpy(reinterpret_cast<void*>(to), from, bytes); },
                                     cuda::kNodeMemcpy, from);
        return kSuccess;
      });
    };
    driver.copy_out = [](void* to, DevicePtr from, std::size_t bytes, cuda::Stream stream) {
      return perform("copy_out", [&](FakeDriver& self) {
        self.check_range(to, bytes);
        self.stream_of(stream)->push([=] { std::memcpy(to, reinterpret_cast<void*>(from), bytes); },
                                     cuda::kNodeMemcpy, reinterpret_cast<void*>(from));
        return kSuccess;
      });
    };
    driver.capture_begin = [](cuda::Stream stream, int) {
      return perform("capture_begin",
                     [&](FakeDriver& self) { return self.stream_of(stream)->begin_capture(); });
    };
    driver.capture_end = [](cuda::Stream stream, cuda::Graph* graph) {
      FakeDriver& self = *current();
      std::shared_ptr<FakeGraph> recorded = self.stream_of(stream)->end_capture();
      if (const cuda::Result result = self.begin("capture_end"); result != kSuccess) return result;
      if (!recorded) return kCaptureForbids;
      *graph = self.keep(&self.graphs_, std::move(recorded));
      return kSuccess;
    };
    driver.graph_nodes = [](cuda::Graph graph, cuda::GraphNode* nodes, std::size_t* count) {
      return perform("graph_nodes", [&](FakeDriver& self) {
        const std::shared_ptr<FakeGraph> listed = self.graph_of(graph);
        *count = listed->nodes.size();
        for (std::size_t i = 0; nodes != nullptr && i < *count; ++i) {
          nodes[i] = reinterpret_cast<cuda::GraphNode>(&listed->nodes[i]);
        }
        return kSuccess;
      });
    };
    driver.node_type = [](cuda::GraphNode node, int* type) {
      return perform("node_type", [&](FakeDriver&) {
        *type = reinterpret_cast<Node*>(node)->type;
        return kSuccess;
      });
    };
    driver.memcpy_params = [](cuda::GraphNode node, cuda::Memcpy3D* copy) {
      return perform("memcpy_params", [&](FakeDriver&) {
        constexpr int kUnified = 4;
        copy->from.memory_type = kUnified;
        copy->from.device = reinterpret_cast<DevicePtr>(reinterpret_cast<Node*>(node)->from);
        return kSuccess;
      });
    };
    driver.pointer_attribute = [](void* value, int, DevicePtr address) {
      return perform("pointer_attribute", [&](FakeDriver& self) {
        const std::lock_guard lock(self.mutex_);
        const auto found = self.allocations_.find(address);
        const bool device = found != self.allocations_.end() && found->second.device;
        *static_cast<int*>(value) = device ? cuda::kMemoryDevice : cuda::kMemoryHost;
        return kSuccess;
      });
    };
    driver.graph_instantiate = [](cuda::GraphExec* executable, cuda::Graph graph, unsigned long long) {
      return perform("graph_instantiate", [&](FakeDriver& self) {
        *executable = self.keep(&self.executables_, self.graph_of(graph));
        return kSuccess;
      });
    };
    driver.graph_launch = [](cuda::GraphExec executable, cuda::Stream stream) {
      return perform("graph_launch", [&](FakeDriver& self) {
        std::shared_ptr<FakeGraph> graph;
        {
          const std::lock_guard lock(self.mutex_);
          graph = self.executables_.at(executable);
        }
        self.stream_of(stream)->push([graph] {
          for (const Node& node : graph->nodes) node.work();
        });
        return kSuccess;
      });
    };
    driver.graph_destroy = [](cuda::Graph graph) {
      return give_back("graph_destroy", [&](FakeDriver& self) { self.remove(&self.graphs_, graph); });
    };
    driver.graph_exec_destroy = [](cuda::GraphExec executable) {
      return give_back("graph_exec_destroy",
                       [&](FakeDriver& self) { self.remove(&self.executables_, executable); });
    };
    driver.error_name = [](cuda::Result result, const char** name) {
      *name = result == cuda::kErrorOutOfMemory ? "CUDA_ERROR_OUT_OF_MEMORY" : "CUDA_ERROR_OF_THE_TEST";
      return kSuccess;
    };
    driver.error_string = [](cuda::Result, const char** text) {
      *text = "as the test wants it";
      return kSuccess;
    };
    return driver;
  }

  const cuda::Driver table_ = make_table();
  const int devices_;
  const bool inline_streams_;
  mutable std::mutex mutex_;
  std::size_t calls_ = 0;
  std::map<std::string, std::size_t> calls_by_name_;
  std::size_t fail_at_ = ~std::size_t{0};
  cuda::Result fail_with_ = cuda::kSuccess;
  bool sticky_ = false;
  std::atomic<bool> dead_{false};
  std::size_t memory_limit_ = std::size_t{1} << 30;
  std::uintptr_t handles_ = 0;
  std::map<cuda::Stream, std::shared_ptr<FakeStream>> streams_;
  std::map<cuda::Event, std::shared_ptr<FakeEvent>> events_;
  std::map<cuda::Graph, std::shared_ptr<FakeGraph>> graphs_;
  std::map<cuda::GraphExec, std::shared_ptr<FakeGraph>> executables_;
  std::map<std::uintptr_t, Allocation> allocations_;
};

}  // namespace batched::testing
