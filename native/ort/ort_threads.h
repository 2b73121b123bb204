// How many threads a model gets, and the threads ONNX Runtime makes for it. Private to native/ort.
#pragma once

#include <cstddef>
#include <cstdint>

#include "ort_api.h"

namespace batched {

// Cores this process may use: its affinity mask, cut to its control group's CPU quota. At least 1.
int usable_cores();

// The sessions a model gets on CPU.
//
// Several lanes of one thread each finish more texts a second than one lane of several threads, since
// small matrices don't split well; a request that is alone wants all the cores. So by default lanes
// share a narrow session, with no thread pool, that they run at the same time, and a wide session
// serves whichever lane runs alone.
struct ThreadPlan {
  std::size_t lanes = 1;
  int narrow_threads = 1;  // computing one run, the lane's own thread included
  bool one_each = false;   // a narrow session for each lane: concurrent runs would share one pool
  int wide_threads = 0;    // 0: no wide session
};

// `lanes` and `threads` are the user's wishes, 0 for none.
ThreadPlan plan_threads(int cores, std::size_t lanes, int threads, std::uint64_t model_bytes);

// Makes the pool threads of sessions created with `options` ours: named, and behind the JavaScript
// thread. Throws Ort::Exception.
void use_own_threads(Ort::SessionOptions& options);

}  // namespace batched
