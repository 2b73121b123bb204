#include "preload.h"

#include <dlfcn.h>

namespace batched {
namespace {

std::string load(const std::string& path) {
  if (path.empty() || path.front() != '/') return "it is not an absolute path";
  if (dlopen(path.c_str(), RTLD_NOW | RTLD_GLOBAL) != nullptr) return {};
  const char* const error = dlerror();
  return error == nullptr ? "it does not load" : error;
}

}  // namespace

std::vector<Preloaded> preload_libraries(const std::vector<std::string>& paths) {
  std::vector<Preloaded> libraries;
  libraries.reserve(paths.size());
  for (const std::string& path : paths) libraries.push_back({path, load(path)});
  return libraries;
}

std::string failures_of(const std::vector<Preloaded>& libraries) {
  std::string lines;
  for (const auto& [path, error] : libraries) {
    if (error.empty()) continue;
    // The linker names the file itself where that is what is wrong.
    lines += "\n  " + (error.find(path) == std::string::npos ? path + ": " + error : error);
  }
  return lines;
}

}  // namespace batched
