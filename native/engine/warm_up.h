// Runs a few synthetic batches through a lane, so that the cost model knows the model before the first
// request does, and the lane has its memory.
#pragma once

#include <cstdint>

#include "clock.h"
#include "cost_model.h"
#include "lane.h"

namespace batched {

struct WarmUp {
  // A GPU learns nothing from small batches. Its memory is taken first, by the largest batch there will be,
  // so that it is one piece and there is no more to take later.
  bool large = false;
  // Of the largest batch: its rows, and its padded tokens if they are bounded.
  std::size_t most_rows = 32;
  std::uint64_t most_tokens = 0;
};

// Blocks for as long as the batches take, at most about two seconds. The lane must not be in use. What
// it learned is returned; a model that refuses zeros teaches nothing, and learns on the job.
CostModel warm_up(Lane& lane, const Signature& signature, Clock& clock, const WarmUp& batches = {});

}  // namespace batched
