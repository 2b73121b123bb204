// Calls that have settled, kept with their memory for the calls to come.
//
// A call is made on a JavaScript thread and ends on a lane's. Without a pool each would be several
// allocations on one thread and as many frees on another, which is what malloc likes least.
//
// Any thread.
#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include "call.h"
#include "settlement.h"
#include "thread_annotations.h"

namespace batched {

class CallPool {
 public:
  // Moves every spare call to `calls`.
  void take_all(std::vector<std::unique_ptr<Call>>* calls);

  // Lets go of a sink that does not stay any more.
  void forget(const CompletionSink* sink);

  // Takes the calls that a settlement owns, up to a bound; the others are freed.
  void give(Settlement& settlement);

 private:
  static bool worth_keeping(const Call& call);

  Mutex mutex_;
  std::vector<std::unique_ptr<Call>> spare_ BATCHED_GUARDED_BY(mutex_);
};

}  // namespace batched
