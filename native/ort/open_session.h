// The one place where sessions are made, for whichever provider `options` name. Private to native/ort.
#pragma once

#include "ort_api.h"
#include "ort_model.h"

namespace batched {

// A session over the model's file or bytes, with its pooling if it has one. Takes from milliseconds to many
// seconds. Throws std::invalid_argument for a model that can't be pooled, Ort::Exception for others.
Ort::Session open_session(const ModelOptions& model, const Ort::SessionOptions& options);

}  // namespace batched
