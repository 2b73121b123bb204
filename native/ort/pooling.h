// Hidden states made one vector a row, by nodes added to the model's own graph, so that only the vector
// leaves the device. Private to native/ort.
#pragma once

#include "ort_api.h"
#include "ort_model.h"

namespace batched {

// What makes `session` pool: sentence_embedding [batch, hidden], of the type of the hidden states, as its
// only output. `session` is one of the model editor, before it is finalised; its options, providers and
// optimizers then apply to the whole. Throws std::invalid_argument for a model that can't be pooled,
// Ort::Exception for others.
//
//   mean  over the tokens that attention_mask counts, summed in float32; zeros where it counts none
//   cls   the first token that attention_mask counts, on whichever side the padding is; without such an input
//   the first
Ort::Model pooling_of(const Ort::Session& session, const Pooling& pooling);

}  // namespace batched
