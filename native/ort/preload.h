// Loads the libraries that an execution provider asks for, from places that the dynamic linker does not know
// (a Python environment, say): it then finds them in the process, by their names. A changed LD_LIBRARY_PATH
// would come too late.
#pragma once

#include <string>
#include <vector>

namespace batched {

struct Preloaded {
  std::string path;
  std::string error;  // the linker's reason; empty: it is loaded
};

// By absolute path, in this order, so dependencies come first. For the whole process and for good; what is
// loaded already stays as it is. One that fails keeps none of the others back. Any thread; it reads much of
// large libraries, so not one that must stay responsive.
std::vector<Preloaded> preload_libraries(const std::vector<std::string>& paths);

// A line for each that failed, begun by a line break; empty if none did.
std::string failures_of(const std::vector<Preloaded>& libraries);

}  // namespace batched
