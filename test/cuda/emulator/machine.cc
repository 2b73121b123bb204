#include "machine.h"

#include <pthread.h>

#include <array>
#include <chrono>
#include <cstdio>
#include <cstdlib>

namespace emulator {
namespace {

std::uint64_t number_of(const char* variable, std::uint64_t otherwise) {
  const char* const text = std::getenv(variable);
  return text == nullptr || *text == '\0' ? otherwise : std::strtoull(text, nullptr, 10);
}

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

void write_log() {
  const std::lock_guard lock(mutex());
  machine().log.write(held_memory());
}

}  // namespace

thread_local bool in_stream = false;

std::mutex& mutex() {
  static auto* const one = new std::mutex;
  return *one;
}

Machine& machine() {
  static auto* const one = new Machine;
  return *one;
}

Machine::Machine()
    : devices(static_cast<int>(number_of("CUDA_EMULATOR_DEVICES", 1))),
      memory(number_of("CUDA_EMULATOR_MEMORY", std::size_t{16} << 30)),
      jitter(number_of("CUDA_EMULATOR_JITTER", 0)),
      idle(number_of("CUDA_EMULATOR_IDLE", 0) > 0),
      faults(read_faults()) {
  std::atexit(write_log);
}

Error Machine::fault_of(std::string_view name) {
  Error error = kSuccess;
  for (Fault& fault : faults) {
    const bool any = fault.name == "any" && !name.starts_with("work ");
    if (!any && fault.name != name) continue;
    ++fault.seen;
    if (fault.again ? fault.seen % fault.nth == 0 : fault.seen == fault.nth) error = fault.code;
  }
  return error;
}

Log::Log() : path_(std::getenv("CUDA_EMULATOR_LOG")) {}

void Log::add(const char* name) {
  if (path_ == nullptr) return;
  std::array<char, 16> thread{};
  pthread_getname_np(pthread_self(), thread.data(), thread.size());
  const auto now = std::chrono::steady_clock::now().time_since_epoch().count();
  lines_ += std::to_string(now) + ' ' + thread.data() + ' ' + name + '\n';
}

void Log::write(std::size_t held) const {
  std::FILE* const file = path_ == nullptr ? nullptr : std::fopen(path_, "w");
  if (file == nullptr) return;
  std::fwrite(lines_.data(), 1, lines_.size(), file);
  std::fprintf(file, "held %zu\n", held);
  std::fclose(file);
}

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
  Error& lost = all.lost[current_device()];
  if (lost != kSuccess) return lost;
  const Error error = all.fault_of(function);
  if (stays(error)) lost = error;
  return error;
}

}  // namespace emulator
