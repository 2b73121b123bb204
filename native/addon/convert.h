// Copies elements from what JavaScript holds to what a model wants, converting and checking on the way.
#pragma once

#include <cstddef>

#include "engine/status.h"
#include "engine/tensor.h"

namespace batched {

// Copies `count` elements. The same type is a memcpy. Integers widen, and narrow where the value fits;
// integers and floats become floats, rounded to the nearest; a number too large for float16 is refused, since
// that ends early (65504), while others become infinite. A float becomes an integer only if it is one
// (number[] is float64 here). kInvalidInput names the first element that does not fit.
Status convert_elements(DType from, const std::byte* source, DType to, std::byte* destination,
                        std::size_t count);

}  // namespace batched
