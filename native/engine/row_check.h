// What a model demands of a row, and what the row means to the queue: its length and its group.
//
// Pure functions; any thread.
#pragma once

#include <cstdint>

#include "batch_layout.h"
#include "status.h"
#include "tensor.h"

namespace batched {

// kInvalidInput, naming the input, unless every rank and every fixed dimension fits the signature, no
// dynamic dimension is zero and dimensions of the same symbol agree. A row that passes cannot disturb the
// rows it is batched with.
Status check_row(const Signature& signature, RowInputs row);

// Elements on the dynamic axes of the first input that has any (the tokens of a text); 1 without any.
std::uint32_t length_of(const Signature& signature, RowInputs row);

// Rows of different groups never share a batch: those whose shared inputs differ and, without padding,
// those whose shapes differ. A 64-bit hash seeded per engine, 0 for models that need no groups.
std::uint64_t group_of(const Signature& signature, PaddingSide side, RowInputs row, std::uint64_t seed);

}  // namespace batched
