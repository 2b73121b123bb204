#include "status.h"

namespace batched {

const char* code_name(Code code) {
  switch (code) {
    case Code::kOk:
      return "OK";
    case Code::kInvalidInput:
      return "BATCHED_INVALID_INPUT";
    case Code::kQueueFull:
      return "BATCHED_QUEUE_FULL";
    case Code::kDeadline:
      return "BATCHED_DEADLINE";
    case Code::kClosed:
      return "BATCHED_CLOSED";
    case Code::kOutputMismatch:
      return "BATCHED_OUTPUT_MISMATCH";
    case Code::kBackend:
      return "BATCHED_BACKEND";
    case Code::kOutOfMemory:
      return "BATCHED_OUT_OF_MEMORY";
    case Code::kDeviceLost:
      return "BATCHED_DEVICE_LOST";
    case Code::kLibraryNotFound:
      return "BATCHED_LIBRARY_NOT_FOUND";
    case Code::kProviderUnavailable:
      return "BATCHED_PROVIDER_UNAVAILABLE";
    case Code::kCancelled:
      return "BATCHED_CANCELLED";
  }
  return "BATCHED_BACKEND";
}

}  // namespace batched
