// Finds and loads ONNX Runtime's core library, once for the whole process. Nothing links to it: its one
// entry point is looked up at run time.
//
// One process has room for one core, so these are tried in this order, and the first decides:
//   1. a copy the process has already loaded (by onnxruntime-node, say), if it is new enough
//   2. LibraryOptions::explicit_path
//   3. LibraryOptions::preferred, in their order
//   4. the copy shipped beside our own binary
//   5. LibraryOptions::candidates, in their order
//
// Usage statistics of ONNX Runtime are switched off before the library is touched.
#pragma once

#include <string>
#include <vector>

#include "engine/status.h"

namespace batched {

struct LibraryOptions {
  std::string explicit_path;            // what the user asked for; nothing else is tried
  std::vector<std::string> preferred;   // copies with the CUDA provider beside them
  std::vector<std::string> candidates;  // where a copy may be, such as onnxruntime-node's folder
};

struct LibraryInfo {
  std::string path;     // the file
  std::string version;  // such as "1.29.0"
  int api = 0;          // the API version in use: the lesser of the headers' and the library's
  std::string how;      // which of the places above it came from, in words
};

// Any thread. Does nothing if a library is loaded, unless `explicit_path` names another file: that is
// kInvalidInput. kLibraryNotFound lists every place tried and why it failed; a later call tries again.
Status load_ort_library(const LibraryOptions& options);

// What load_ort_library() loaded, or null. Any thread; the answer lives as long as the process.
const LibraryInfo* ort_library();

}  // namespace batched
