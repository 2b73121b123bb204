#include "ort_library.h"

#include <dlfcn.h>
#if defined(__APPLE__)
#include <mach-o/dyld.h>
#endif

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <memory>
#include <mutex>
#include <string_view>
#include <system_error>
#include <utility>

#include "ort_api.h"
#include "ort_error.h"

namespace batched {
namespace {

#if defined(__APPLE__)
constexpr const char* kLibraryName = "libonnxruntime.1.dylib";
#else
constexpr const char* kLibraryName = "libonnxruntime.so.1";
// Of the copy that prebuilt packages ship, lest it be taken for another version that is asked for by its
// soname; see scripts/package/prebuilds.mjs.
constexpr const char* kOwnSoname = "libbatched-ort.so.1";
#endif

// The functions used here are in every release since this one.
constexpr int kOldestApi = 17;

struct Loaded {
  LibraryInfo info;
  std::unique_ptr<Ort::Env> env;
};

// Published once, never freed: sessions on other threads may be alive while the process exits.
std::atomic<const Loaded*> loaded{nullptr};

std::mutex& load_mutex() {
  static std::mutex* const mutex = new std::mutex;
  return *mutex;
}

bool same_file(const std::string& a, const std::string& b) {
  std::error_code error;
  return a == b || std::filesystem::equivalent(a, b, error);
}

// The file that `address` was loaded from.
std::string file_of(const void* address) {
  Dl_info info{};
  if (dladdr(address, &info) == 0 || info.dli_fname == nullptr) return {};
  std::error_code error;
  const std::filesystem::path file = std::filesystem::absolute(info.dli_fname, error);
  return error ? info.dli_fname : file.string();
}

std::string last_dl_error() {
  const char* const error = dlerror();
  return error == nullptr ? "the reason is unknown" : error;
}

// "1.29.0" is API 29. 0 if the text is something else.
int api_of(const std::string& version) {
  int major = 0;
  int minor = 0;
  if (std::sscanf(version.c_str(), "%d.%d", &major, &minor) != 2) return 0;  // NOLINT(cert-err34-c)
  return major == 1 ? minor : 0;
}

// Errors of ONNX Runtime itself; what happens in a session comes back as a Status, and so does a call of CUDA
// that fails, though the provider logs it here.
void ORT_API_CALL log_to_stderr(void* /*param*/, OrtLoggingLevel severity, const char* /*category*/,
                                const char* /*log_id*/, const char* /*location*/, const char* message) {
  if (severity >= ORT_LOGGING_LEVEL_ERROR && !is_from_cuda(message)) {
    std::fprintf(stderr, "batched: ONNX Runtime: %s\n", message);
  }
}

// Reads off what the library behind `handle` is, and gets its API table.
Status inspect(void* handle, LibraryInfo* info, const OrtApi** api) {
  using GetApiBase = const OrtApiBase*(ORT_API_CALL*)();
  void* const symbol = dlsym(handle, "OrtGetApiBase");
  if (symbol == nullptr) return {Code::kLibraryNotFound, "it has no OrtGetApiBase"};
  const OrtApiBase* const base = reinterpret_cast<GetApiBase>(symbol)();
  if (base == nullptr) return {Code::kLibraryNotFound, "its OrtGetApiBase gives nothing"};

  info->path = file_of(symbol);
  info->version = base->GetVersionString();
  const int theirs = api_of(info->version);
  if (theirs < kOldestApi) {
    return {Code::kLibraryNotFound, "it is version " + info->version + " and batched needs 1." +
                                        std::to_string(kOldestApi) + " or newer (it was built for 1." +
                                        std::to_string(ORT_API_VERSION) + ")"};
  }
  info->api = std::min(theirs, ORT_API_VERSION);
  *api = base->GetApi(static_cast<std::uint32_t>(info->api));
  if (*api != nullptr) return {};
  return {Code::kLibraryNotFound,
          "version " + info->version + " does not offer its API " + std::to_string(info->api)};
}

// Takes the library behind `handle` into use, for good. One that is refused is let go, or a later
// search would take it for one that others brought along.
Status adopt(void* handle, std::string how) {
  LibraryInfo info;
  const OrtApi* api = nullptr;
  if (Status status = inspect(handle, &info, &api); !status.ok()) {
    dlclose(handle);
    return status;
  }
  info.how = std::move(how);
  try {
    Ort::InitApi(api);
    auto made = std::make_unique<Loaded>();
    made->info = std::move(info);
    made->env = std::make_unique<Ort::Env>(ORT_LOGGING_LEVEL_ERROR, "batched", log_to_stderr, nullptr);
    made->env->DisableTelemetryEvents();
    loaded.store(made.release(), std::memory_order_release);
    return {};
  } catch (const std::exception& error) {
    return {Code::kLibraryNotFound, "it does not start: " + clean_ort_message(error.what())};
  }
}

Status try_file(const std::string& path, std::string how) {
  std::error_code error;
  if (!std::filesystem::exists(path, error)) return {Code::kLibraryNotFound, "there is no such file"};
  void* const handle = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) return {Code::kLibraryNotFound, last_dl_error()};
  return adopt(handle, std::move(how));
}

// The copy that came with us: beside the binary this function is in.
std::string shipped_path() {
  const std::string own = file_of(reinterpret_cast<const void*>(&shipped_path));
  return (std::filesystem::path(own).parent_path() / kLibraryName).string();
}

// A core that something else (another copy of this addon, say) has brought into the process, or null.
void* already_loaded() {
  constexpr int kFlags = RTLD_NOW | RTLD_LOCAL | RTLD_NOLOAD;
#if defined(__APPLE__)
  // By path: here a library is not found by its mere name.
  for (std::uint32_t i = 0; i < _dyld_image_count(); ++i) {
    const char* const path = _dyld_get_image_name(i);
    if (path == nullptr) continue;
    const std::string name = std::filesystem::path(path).filename().string();
    if (name.starts_with("libonnxruntime.") && name.ends_with(".dylib")) return dlopen(path, kFlags);
  }
  return nullptr;
#else
  void* const handle = dlopen(kLibraryName, kFlags);
  return handle != nullptr ? handle : dlopen(kOwnSoname, kFlags);
#endif
}

// Takes that one. `*found` tells whether there is one.
Status reuse(const LibraryOptions& options, bool* found) {
  void* const handle = already_loaded();
  *found = handle != nullptr;
  if (handle == nullptr) return {};
  const void* const symbol = dlsym(handle, "OrtGetApiBase");
  const std::string path = symbol == nullptr ? std::string(kLibraryName) : file_of(symbol);
  if (!options.explicit_path.empty() && !same_file(options.explicit_path, path)) {
    return {Code::kInvalidInput, "libraryPath is " + options.explicit_path +
                                     ", but this process has already loaded ONNX Runtime from " + path +
                                     ", and it can hold only one: load batched first, or leave " +
                                     "libraryPath out"};
  }
  const Status status = adopt(handle, "already loaded in this process");
  if (status.ok()) return status;
  return {status.code(), "this process has already loaded ONNX Runtime from " + path + ", but " +
                             status.message() + "; load batched first, or update that package"};
}

Status search(const LibraryOptions& options) {
  std::vector<std::pair<std::string, std::string>> places;
  for (const std::string& path : options.preferred) {
    places.emplace_back(path, "preferred, since CUDA is complete for it");
  }
  places.emplace_back(shipped_path(), "beside the addon");
  for (const std::string& path : options.candidates) places.emplace_back(path, "found in " + path);
  std::string tried;
  for (const auto& [path, how] : places) {
    const Status status = try_file(path, how);
    if (status.ok()) return status;
    tried += "\n  " + path + ": " + status.message();
  }
  return {Code::kLibraryNotFound,
          "ONNX Runtime was not found. Install the npm package onnxruntime-node, or give libraryPath. "
          "Tried:" +
              tried};
}

// Must come first of all: the core samples usage from its creation on unless this is set. Writing the
// environment races with other threads that read it, so only when it is not set yet.
void switch_telemetry_off() {
  constexpr const char* kSwitch = "ORT_DISABLE_TELEMETRY";
  const char* const value = std::getenv(kSwitch);
  if (value == nullptr || std::string_view(value) != "1") setenv(kSwitch, "1", 1);
}

}  // namespace

Status load_ort_library(const LibraryOptions& options) {
  const std::lock_guard<std::mutex> lock(load_mutex());
  if (const LibraryInfo* const info = ort_library()) {
    if (options.explicit_path.empty() || same_file(options.explicit_path, info->path)) return {};
    return {Code::kInvalidInput, "libraryPath is " + options.explicit_path +
                                     ", but ONNX Runtime is loaded from " + info->path + " (" + info->how +
                                     "), and a process can hold only one"};
  }
  switch_telemetry_off();
  bool found = false;
  const Status reused = reuse(options, &found);
  if (found) return reused;
  if (!options.explicit_path.empty()) {
    const Status status = try_file(options.explicit_path, "libraryPath");
    if (status.ok()) return status;
    return {status.code(), "ONNX Runtime could not be loaded from libraryPath " + options.explicit_path +
                               ": " + status.message()};
  }
  return search(options);
}

const LibraryInfo* ort_library() {
  const Loaded* const now = loaded.load(std::memory_order_acquire);
  return now == nullptr ? nullptr : &now->info;
}

Ort::Env* ort_env() {
  const Loaded* const now = loaded.load(std::memory_order_acquire);
  return now == nullptr ? nullptr : now->env.get();
}

}  // namespace batched
