// One GPU: its memory, streams and events, with the driver's errors as Status. Private to native/gpu and
// native/ort.
//
// Codes: kOutOfMemory; kDeviceLost for what no later call recovers from (the driver then fails every call of
// this process); kBackend for the rest. Any thread, once it has called use(); an object that is made here
// belongs to one.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <utility>

#include "cuda_driver.h"
#include "engine/status.h"

namespace batched::cuda {

class Device {
 public:
  // Retains the device's primary context, which ONNX Runtime uses as well, and never releases it.
  // kProviderUnavailable names the devices there are if `ordinal` is none of them.
  static Status open(const Driver& driver, int ordinal, std::shared_ptr<Device>* device);

  int ordinal() const { return ordinal_; }
  const std::string& name() const { return name_; }
  const Driver& driver() const { return driver_; }

  // Makes the device the calling thread's.
  Status use() const { return call("cuCtxSetCurrent", driver_.set_current, context_); }
  // Of the whole device, others' use included.
  Status memory(std::size_t* free, std::size_t* total) const {
    return call("cuMemGetInfo", driver_.memory_info, free, total);
  }

  // Calls one of the driver's functions.
  template <typename... Parameters, typename... Arguments>
  Status call(const char* what, Result (*function)(Parameters...), Arguments... arguments) const {
    return status_of(function(arguments...), what);
  }

 private:
  Device(const Driver& driver, int ordinal) : driver_(driver), ordinal_(ordinal) {}
  Status status_of(Result result, const char* what) const;

  const Driver& driver_;
  const int ordinal_;
  std::string name_;
  Context context_ = nullptr;
};

// A stream that is not ordered behind the default stream.
class DeviceStream {
 public:
  Status create(std::shared_ptr<Device> device);
  ~DeviceStream();
  DeviceStream() = default;
  DeviceStream(const DeviceStream&) = delete;
  DeviceStream& operator=(const DeviceStream&) = delete;

  Stream get() const { return stream_; }

 private:
  std::shared_ptr<Device> device_;
  Stream stream_ = nullptr;
};

class DeviceEvent {
 public:
  // `timed`: elapsed() works.
  Status create(std::shared_ptr<Device> device, bool timed);
  ~DeviceEvent();
  DeviceEvent() = default;
  DeviceEvent(const DeviceEvent&) = delete;
  DeviceEvent& operator=(const DeviceEvent&) = delete;

  Event get() const { return event_; }

 private:
  std::shared_ptr<Device> device_;
  Event event_ = nullptr;
};

// Memory of the device, or of the host and pinned. Grows and never shrinks: what it holds is bounded by the
// largest batch. What was there before is lost if it grows.
class DeviceBuffer {
 public:
  enum class Place : std::uint8_t { kDevice, kPinned };

  DeviceBuffer(std::shared_ptr<Device> device, Place place) : device_(std::move(device)), place_(place) {}
  ~DeviceBuffer() { release(); }
  DeviceBuffer(const DeviceBuffer&) = delete;
  DeviceBuffer& operator=(const DeviceBuffer&) = delete;

  Status reserve(std::size_t bytes);
  void release();

  DevicePtr device() const { return device_memory_; }
  std::byte* pinned() const { return static_cast<std::byte*>(pinned_); }
  std::size_t capacity() const { return capacity_; }

 private:
  const std::shared_ptr<Device> device_;
  const Place place_;
  DevicePtr device_memory_ = 0;
  void* pinned_ = nullptr;
  std::size_t capacity_ = 0;
};

}  // namespace batched::cuda
