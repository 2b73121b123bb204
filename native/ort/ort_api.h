// The room's way to ONNX Runtime's C++ API. Private to native/ort.
#pragma once

#if !defined(ORT_API_MANUAL_INIT)
#error "native/ort is compiled with ORT_API_MANUAL_INIT: the library is looked up at run time"
#endif

#include <onnxruntime_cxx_api.h>

namespace batched {

// The process's ONNX Runtime environment, made by load_ort_library() and never released: it must
// outlive every session, and its release at exit crashes after CUDA work. Null before that.
Ort::Env* ort_env();

}  // namespace batched
