// NVTX ranges in the domain "batched", for nsys. Header only; compiles to nothing without the headers,
// and costs a branch when no tool is attached. docs/guides/profiling.md says how to look at them.
#pragma once

#include <cstddef>
#include <cstdint>

#if defined(BATCHED_NVTX)
#include <nvtx3/nvToolsExt.h>
#endif

namespace batched {

// A batch in one number, since a range has room for no more, with its parts in decimal digits:
// rows, then 7 digits of padded tokens, then 3 of the useful ones in percent. 32 rows x 57 tokens, 3/4 of
// them useful, are 32 0001824 075.
constexpr std::uint64_t trace_batch(std::uint64_t rows, std::uint64_t padded_tokens, std::uint64_t tokens) {
  constexpr std::uint64_t kMostTokens = 9'999'999;
  const std::uint64_t percent = padded_tokens == 0 ? 100 : 100 * tokens / padded_tokens;
  const std::uint64_t shown = padded_tokens < kMostTokens ? padded_tokens : kMostTokens;
  return (rows * (kMostTokens + 1) + shown) * 1000 + percent;
}

#if defined(BATCHED_NVTX)

// Every use of NVTX comes through here first: its headers look their functions up at the first call and write
// the pointers while other threads may read them, which a function's static puts in order.
inline nvtxDomainHandle_t trace_domain() {
  static const nvtxDomainHandle_t domain = nvtxDomainCreateA("batched");
  return domain;
}

// The name of thread `id` (the system's) in tools.
inline void trace_thread_name(std::uint32_t id, const char* name) {
  trace_domain();
  nvtxNameOsThreadA(id, name);
}

// A range on this thread from construction to destruction; `payload` is a number of calls or rows, or a
// trace_batch().
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

inline void trace_thread_name(std::uint32_t /*id*/, const char* /*name*/) {}

class TraceRange {
 public:
  explicit TraceRange(const char* /*name*/, std::uint64_t /*payload*/ = 0) {}
  ~TraceRange() {}  // NOLINT: user-provided, so that an unused range is not a warning
  TraceRange(const TraceRange&) = delete;
  TraceRange& operator=(const TraceRange&) = delete;
};

#endif

}  // namespace batched
