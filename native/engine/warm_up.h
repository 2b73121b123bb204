// Runs a few synthetic batches through a lane, so that the cost model knows the model before the first
// request does, and the lane has its memory.
#pragma once

#include <cstdint>

#include "clock.h"
#include "cost_model.h"
#include "lane.h"

namespace batched {

// Which batches: small ones for a CPU; for a GPU, where they say nothing, large ones, the largest first so
// that its memory is taken in one piece.
enum class WarmUp : std::uint8_t { kSmall, kLarge };

// Blocks for as long as the batches take, at most about two seconds. The lane must not be in use. What
// it learned is returned; a model that refuses zeros teaches nothing, and learns on the job.
CostModel warm_up(Lane& lane, const Signature& signature, Clock& clock, WarmUp batches = WarmUp::kSmall);

}  // namespace batched
