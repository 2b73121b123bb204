// Plain engine values as JavaScript objects.
#pragma once

#include <napi.h>

#include "engine/batch_watchers.h"
#include "engine/stats.h"
#include "engine/status.h"
#include "engine/tensor.h"

namespace batched {

// { code, message }: the number of the code, as in ts/errors.ts.
Napi::Object status_object(Napi::Env env, const Status& status);

// { inputs: [{ name, type, dims, symbols, batchAxis }], outputs: [...], fixedBatch }; a dynamic dimension is
// -1, the batch axis of a shared input too.
Napi::Object signature_object(Napi::Env env, const Signature& signature);

// Counters as they are; times in milliseconds; see NativeStats in ts/native.ts.
Napi::Object stats_object(Napi::Env env, const EngineStats& stats);
Napi::Object counters_object(Napi::Env env, const Counters& counters);

// NativeBatchFacts and NativeBatchReport in ts/native.ts.
Napi::Object facts_object(Napi::Env env, const BatchFacts& facts);
Napi::Object report_object(Napi::Env env, const BatchReport& report);

}  // namespace batched
