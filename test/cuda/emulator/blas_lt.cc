// libcublasLt.so.13: there, and of no use.
#include "device.h"

#define UNSUPPORTED(name) \
  int name() { return emulator::enter(#name), 15; }

extern "C" {
#pragma GCC visibility push(default)
int cublasLtCreate(void** handle) {
  *handle = nullptr;
  return emulator::enter("cublasLtCreate") == 0 ? 0 : 13;
}
int cublasLtDestroy(void* /*handle*/) { return 0; }
UNSUPPORTED(cublasLtMatmul)
UNSUPPORTED(cublasLtMatmulAlgoConfigSetAttribute)
UNSUPPORTED(cublasLtMatmulAlgoGetHeuristic)
UNSUPPORTED(cublasLtMatmulAlgoInit)
UNSUPPORTED(cublasLtMatmulDescCreate)
UNSUPPORTED(cublasLtMatmulDescDestroy)
UNSUPPORTED(cublasLtMatmulDescSetAttribute)
UNSUPPORTED(cublasLtMatmulPreferenceCreate)
UNSUPPORTED(cublasLtMatmulPreferenceDestroy)
UNSUPPORTED(cublasLtMatmulPreferenceSetAttribute)
UNSUPPORTED(cublasLtMatrixLayoutCreate)
UNSUPPORTED(cublasLtMatrixLayoutDestroy)
UNSUPPORTED(cublasLtMatrixLayoutSetAttribute)
UNSUPPORTED(cublasLtMatrixTransform)
UNSUPPORTED(cublasLtMatrixTransformDescCreate)
UNSUPPORTED(cublasLtMatrixTransformDescDestroy)
#pragma GCC visibility pop
}
