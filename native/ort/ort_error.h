// From ONNX Runtime's errors to ours. Private to native/ort.
#pragma once

#include <string>
#include <string_view>

#include "engine/status.h"
#include "ort_api.h"

namespace batched {

// ONNX Runtime's text without the places in its own sources, on one line.
std::string clean_ort_message(std::string_view message);

// The text is of a call into CUDA or its libraries that failed.
bool is_from_cuda(std::string_view message);

// The status of an exception caught around ONNX Runtime calls. `otherwise` is the code of a failure that
// isn't lack of memory; `doing` begins the message, as in "the model could not be run".
Status to_status(const std::exception& error, Code otherwise, std::string_view doing);

}  // namespace batched
