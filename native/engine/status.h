// How native code reports failure: a code with a message. No exception leaves a room or a thread.
#pragma once

#include <cstdint>
#include <string>
#include <utility>

namespace batched {

// The order is part of the boundary: ts/errors.ts maps the same numbers to BATCHED_* codes.
enum class Code : std::uint8_t {
  kOk = 0,
  kInvalidInput,
  kQueueFull,
  kDeadline,
  kClosed,
  kOutputMismatch,
  kBackend,
  kOutOfMemory,
  kDeviceLost,
  kLibraryNotFound,
  kProviderUnavailable,
  kCancelled,
};

class [[nodiscard]] Status {
 public:
  Status() = default;
  Status(Code code, std::string message) : code_(code), message_(std::move(message)) {}

  static Status okay() { return {}; }

  bool ok() const { return code_ == Code::kOk; }
  Code code() const { return code_; }
  const std::string& message() const { return message_; }

 private:
  Code code_ = Code::kOk;
  std::string message_;
};

// The stable name of a code, such as "BATCHED_QUEUE_FULL".
const char* code_name(Code code);

}  // namespace batched
