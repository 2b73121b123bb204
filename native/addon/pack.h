// Stacks rows that lie in several JavaScript tensors into one padded tensor, for user functions.
#pragma once

#include <napi.h>

namespace batched {

// pack(out, outDims, type, side, padValue, sources, rank, rows): see ts/native.ts.
Napi::Value pack(const Napi::CallbackInfo& info);

}  // namespace batched
