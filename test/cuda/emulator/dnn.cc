// libcudnn.so.9: handles. ONNX Runtime asks for one where an operator may need cuDNN, and says what it lacks
// where one does.
#include "device.h"

namespace {

// As cudnn_graph.h numbers them.
enum Status { kOk = 0, kExecutionFailed = 5000 };

struct Handle {
  emulator::Stream* stream = nullptr;
};

}  // namespace

extern "C" {
#pragma GCC visibility push(default)

std::size_t cudnnGetVersion() { return 91400; }
const char* cudnnGetErrorString(Status status) {
  return status == kOk ? "CUDNN_STATUS_SUCCESS" : "CUDNN_STATUS_EXECUTION_FAILED";
}
void cudnnGetLastErrorString(char* text, std::size_t length) {
  if (length > 0) *text = '\0';
}

Status cudnnCreate(Handle** handle) {
  if (emulator::enter("cudnnCreate") != emulator::kSuccess) return kExecutionFailed;
  *handle = new Handle{&emulator::default_stream()};
  return kOk;
}
Status cudnnDestroy(Handle* handle) {
  delete handle;
  return kOk;
}
Status cudnnSetStream(Handle* handle, emulator::Stream* stream) {
  handle->stream = &emulator::stream_or_default(stream);
  return kOk;
}
Status cudnnGetStream(Handle* handle, emulator::Stream** stream) {
  *stream = handle->stream;
  return kOk;
}

#pragma GCC visibility pop
}
