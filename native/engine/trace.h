// NVTX ranges in the domain "batched", for nsys. Header only; compiles to nothing without the headers,
// and costs a branch when no tool is attached.
#pragma once

#include <cstddef>
#include <cstdint>

#if defined(BATCHED_NVTX)
#include <nvtx3/nvToolsExt.h>
#endif

namespace batched {

#if defined(BATCHED_NVTX)

inline nvtxDomainHandle_t trace_domain() {
  static const nvtxDomainHandle_t domain = nvtxDomainCreateA("batched");
  return domain;
}

// A range on this thread from construction to destruction; `payload` is a number of rows or tokens.
class TraceRange {
 public:
  explicit TraceRange(const char* name, std::uint64_t payload = 0) {
    nvtxEventAttributes_t event{};
    event.version = NVTX_VERSION;
    event.size = NVTX_EVENT_ATTRIB_STRUCT_SIZE;
    event.messageType = NVTX_MESSAGE_TYPE_ASCII;
    event.message.ascii = name;
    event.payloadType = NVTX_PAYLOAD_TYPE_UNSIGNED_INT64;
    event.payload.ullValue = payload;
    nvtxDomainRangePushEx(trace_domain(), &event);
  }
  ~TraceRange() { nvtxDomainRangePop(trace_domain()); }
  TraceRange(const TraceRange&) = delete;
  TraceRange& operator=(const TraceRange&) = delete;
};

#else

class TraceRange {
 public:
  explicit TraceRange(const char* /*name*/, std::uint64_t /*payload*/ = 0) {}
  ~TraceRange() {}  // NOLINT: user-provided, so that an unused range is not a warning
  TraceRange(const TraceRange&) = delete;
  TraceRange& operator=(const TraceRange&) = delete;
};

#endif

}  // namespace batched
