#include "cuda_device.h"

#include <algorithm>
#include <array>

namespace batched::cuda {
namespace {

constexpr std::size_t kLeastBuffer = 4096;

// After these the context is of no more use; most of them are raised by a kernel and then by every call.
bool is_lost(Result result) {
  constexpr std::array kLost = {
      3,    // not initialized
      4,    // deinitialized: the process is ending
      46,   // device unavailable
      100,  // no device
      201,  // invalid context
      214,  // uncorrectable ECC error
      220,  // uncorrectable NVLink error
      226,  // contained
      700,  // illegal address
      702,  // launch timeout
      709,  // context is destroyed
      710,  // assert
      714,  // hardware stack error
      715,  // illegal instruction
      716,  // misaligned address
      717,  // invalid address space
      718,  // invalid program counter
      719,  // launch failed
      999,  // unknown
  };
  return std::ranges::find(kLost, result) != kLost.end();
}

}  // namespace

Status Device::status_of(Result result, const char* what) const {
  if (result == kSuccess) return {};
  const char* name = nullptr;
  const char* text = nullptr;
  driver_.error_name(result, &name);
  driver_.error_string(result, &text);
  const Code code = result == kErrorOutOfMemory ? Code::kOutOfMemory
                    : is_lost(result)           ? Code::kDeviceLost
                                                : Code::kBackend;
  std::string message = "GPU " + std::to_string(ordinal_) + ": " + what + " failed with ";
  message += name == nullptr ? "error " + std::to_string(result) : std::string(name);
  if (text != nullptr) message += " (" + std::string(text) + ")";
  return {code, std::move(message)};
}

Status Device::open(const Driver& driver, int ordinal, std::shared_ptr<Device>* device) {
  const std::shared_ptr<Device> made(new Device(driver, ordinal));
  int count = 0;
  if (Status status = made->call("cuDeviceGetCount", driver.device_count, &count); !status.ok())
    return status;
  if (ordinal < 0 || ordinal >= count) {
    const std::string there =
        count == 0 ? "there is none"
                   : (count == 1 ? "there is " : "there are ") + std::to_string(count) + ", counted from 0";
    return {Code::kProviderUnavailable, "there is no GPU " + std::to_string(ordinal) + ": " + there};
  }
  int handle = 0;
  if (Status status = made->call("cuDeviceGet", driver.device_get, &handle, ordinal); !status.ok())
    return status;
  std::array<char, 128> name{};
  if (driver.device_name(name.data(), static_cast<int>(name.size()), handle) == kSuccess)
    made->name_ = name.data();
  Status status =
      made->call("cuDevicePrimaryCtxRetain", driver.primary_context_retain, &made->context_, handle);
  if (status.ok()) *device = made;
  return status;
}

Status DeviceStream::create(std::shared_ptr<Device> device) {
  device_ = std::move(device);
  return device_->call("cuStreamCreate", device_->driver().stream_create, &stream_, kStreamNonBlocking);
}

DeviceStream::~DeviceStream() {
  if (stream_ == nullptr) return;
  (void)device_->use();  // a session may be collected on any thread
  (void)device_->call("cuStreamDestroy", device_->driver().stream_destroy, stream_);
}

Status DeviceEvent::create(std::shared_ptr<Device> device, bool timed) {
  device_ = std::move(device);
  const unsigned flags = kEventBlockingSync | (timed ? 0 : kEventDisableTiming);
  return device_->call("cuEventCreate", device_->driver().event_create, &event_, flags);
}

DeviceEvent::~DeviceEvent() {
  if (event_ != nullptr) (void)device_->call("cuEventDestroy", device_->driver().event_destroy, event_);
}

Status DeviceBuffer::reserve(std::size_t bytes) {
  if (capacity_ >= bytes && capacity_ > 0) return {};
  // Half as much again, so that lengths creeping up don't mean an allocation each: it stops the whole device.
  const std::size_t wanted = std::max({kLeastBuffer, bytes, capacity_ + capacity_ / 2});
  release();
  const Driver& driver = device_->driver();
  const Status status =
      place_ == Place::kDevice
          ? device_->call("cuMemAlloc", driver.allocate, &device_memory_, wanted)
          : device_->call("cuMemHostAlloc", driver.host_allocate, &pinned_, wanted, kHostPortable);
  if (status.ok()) capacity_ = wanted;
  return status;
}

void DeviceBuffer::release() {
  const Driver& driver = device_->driver();
  if (device_memory_ != 0) (void)device_->call("cuMemFree", driver.free, device_memory_);
  if (pinned_ != nullptr) (void)device_->call("cuMemFreeHost", driver.host_free, pinned_);
  device_memory_ = 0;
  pinned_ = nullptr;
  capacity_ = 0;
}

}  // namespace batched::cuda
