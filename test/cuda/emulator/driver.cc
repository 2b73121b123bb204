// libcuda.so.1: of the driver API what batched calls.
#include <cuda.h>

#include <cstring>
#include <memory>
#include <string_view>

#include "device.h"

#undef cuEventElapsedTime  // the header has a newer one by this name; drivers keep both

namespace {

CUresult result(emulator::Error error) { return static_cast<CUresult>(error); }

emulator::Stream& stream_of(CUstream stream) { return emulator::stream_or_default(stream); }
emulator::Event& event_of(CUevent event) { return *reinterpret_cast<emulator::Event*>(event); }
void* address_of(CUdeviceptr address) { return reinterpret_cast<void*>(address); }

}  // namespace

#define ENTER(function) \
  if (const emulator::Error error_ = emulator::enter(function); error_ != 0) return result(error_)

extern "C" {
#pragma GCC visibility push(default)

CUresult cuInit(unsigned) {
  ENTER("cuInit");
  return result(emulator::device_count() > 0 ? 0 : 100);
}

CUresult cuDriverGetVersion(int* version) {
  *version = CUDA_VERSION;
  return CUDA_SUCCESS;
}

CUresult cuDeviceGetCount(int* count) {
  ENTER("cuDeviceGetCount");
  *count = emulator::device_count();
  return CUDA_SUCCESS;
}

CUresult cuDeviceGet(CUdevice* device, int ordinal) {
  ENTER("cuDeviceGet");
  if (ordinal < 0 || ordinal >= emulator::device_count()) return CUDA_ERROR_INVALID_DEVICE;
  *device = ordinal;
  return CUDA_SUCCESS;
}

CUresult cuDeviceGetName(char* name, int length, CUdevice) {
  ENTER("cuDeviceGetName");
  std::strncpy(name, "emulated GPU", static_cast<std::size_t>(length));
  return CUDA_SUCCESS;
}

CUresult cuDevicePrimaryCtxRetain(CUcontext* context, CUdevice device) {
  ENTER("cuDevicePrimaryCtxRetain");
  *context = reinterpret_cast<CUcontext>(static_cast<std::intptr_t>(device) + 1);
  return CUDA_SUCCESS;
}

CUresult cuCtxSetCurrent(CUcontext context) {
  ENTER("cuCtxSetCurrent");
  return result(emulator::use_device(static_cast<int>(reinterpret_cast<std::intptr_t>(context)) - 1));
}

CUresult cuMemGetInfo(std::size_t* free, std::size_t* total) {
  ENTER("cuMemGetInfo");
  return result(emulator::memory(free, total));
}

CUresult cuMemAlloc(CUdeviceptr* memory, std::size_t bytes) {
  ENTER("cuMemAlloc");
  void* address = nullptr;
  const emulator::Error error = emulator::allocate(bytes, &address);
  *memory = reinterpret_cast<CUdeviceptr>(address);
  return result(error);
}

CUresult cuMemFree(CUdeviceptr memory) {
  ENTER("cuMemFree");
  return result(emulator::release(address_of(memory)));
}

CUresult cuMemHostAlloc(void** memory, std::size_t bytes, unsigned) {
  ENTER("cuMemHostAlloc");
  return result(emulator::allocate_host(bytes, memory));
}

CUresult cuMemFreeHost(void* memory) {
  ENTER("cuMemFreeHost");
  return result(emulator::release_host(memory));
}

CUresult cuStreamCreate(CUstream* stream, unsigned) {
  ENTER("cuStreamCreate");
  *stream = reinterpret_cast<CUstream>(new emulator::Stream(emulator::current_device()));
  return CUDA_SUCCESS;
}

CUresult cuStreamDestroy(CUstream stream) {
  ENTER("cuStreamDestroy");
  delete &stream_of(stream);
  return CUDA_SUCCESS;
}

CUresult cuStreamSynchronize(CUstream stream) {
  ENTER("cuStreamSynchronize");
  return result(stream_of(stream).synchronize());
}

CUresult cuStreamWaitEvent(CUstream stream, CUevent event, unsigned) {
  ENTER("cuStreamWaitEvent");
  return result(stream_of(stream).wait_for(event_of(event)));
}

CUresult cuEventCreate(CUevent* event, unsigned) {
  ENTER("cuEventCreate");
  *event = reinterpret_cast<CUevent>(new emulator::Event);
  return CUDA_SUCCESS;
}

CUresult cuEventDestroy(CUevent event) {
  ENTER("cuEventDestroy");
  delete &event_of(event);
  return CUDA_SUCCESS;
}

CUresult cuEventRecord(CUevent event, CUstream stream) {
  ENTER("cuEventRecord");
  return result(stream_of(stream).record(event_of(event)));
}

CUresult cuEventSynchronize(CUevent event) {
  ENTER("cuEventSynchronize");
  return result(event_of(event).synchronize());
}

CUresult cuEventElapsedTime(float* milliseconds, CUevent from, CUevent to) {
  ENTER("cuEventElapsedTime");
  return result(event_of(to).since(event_of(from), milliseconds));
}

CUresult cuMemcpyHtoDAsync(CUdeviceptr to, const void* from, std::size_t bytes, CUstream stream) {
  ENTER("cuMemcpyHtoDAsync");
  return result(emulator::copy(address_of(to), from, bytes, stream_of(stream), false));
}

CUresult cuMemcpyDtoHAsync(void* to, CUdeviceptr from, std::size_t bytes, CUstream stream) {
  ENTER("cuMemcpyDtoHAsync");
  return result(emulator::copy(to, address_of(from), bytes, stream_of(stream), false));
}

// A CUgraph is an emulator::Graph, a node one of its items, a CUgraphExec a shared copy.

CUresult cuStreamBeginCapture(CUstream stream, CUstreamCaptureMode mode) {
  ENTER("cuStreamBeginCapture");
  if (mode != CU_STREAM_CAPTURE_MODE_RELAXED) return CUDA_ERROR_NOT_SUPPORTED;
  return result(stream_of(stream).begin_capture());
}

CUresult cuStreamEndCapture(CUstream stream, CUgraph* graph) {
  ENTER("cuStreamEndCapture");
  auto captured = std::make_unique<emulator::Graph>();
  const emulator::Error error = stream_of(stream).end_capture(captured.get());
  *graph = error == 0 ? reinterpret_cast<CUgraph>(captured.release()) : nullptr;
  return result(error);
}

CUresult cuGraphGetNodes(CUgraph graph, CUgraphNode* nodes, std::size_t* count) {
  ENTER("cuGraphGetNodes");
  auto& items = *reinterpret_cast<emulator::Graph*>(graph);
  for (std::size_t i = 0; nodes != nullptr && i < items.size(); ++i)
    nodes[i] = reinterpret_cast<CUgraphNode>(&items[i]);
  *count = items.size();
  return CUDA_SUCCESS;
}

CUresult cuGraphNodeGetType(CUgraphNode node, CUgraphNodeType* type) {
  ENTER("cuGraphNodeGetType");
  const std::string_view kind = reinterpret_cast<emulator::Item*>(node)->kind;
  *type = kind == "copy"   ? CU_GRAPH_NODE_TYPE_MEMCPY
          : kind == "host" ? CU_GRAPH_NODE_TYPE_HOST
                           : CU_GRAPH_NODE_TYPE_KERNEL;
  return CUDA_SUCCESS;
}

CUresult cuGraphMemcpyNodeGetParams(CUgraphNode node, CUDA_MEMCPY3D* copy) {
  ENTER("cuGraphMemcpyNodeGetParams");
  *copy = {};
  copy->srcMemoryType = CU_MEMORYTYPE_UNIFIED;
  copy->srcDevice = reinterpret_cast<CUdeviceptr>(reinterpret_cast<emulator::Item*>(node)->from);
  return CUDA_SUCCESS;
}

CUresult cuPointerGetAttribute(void* value, CUpointer_attribute attribute, CUdeviceptr address) {
  ENTER("cuPointerGetAttribute");
  if (attribute != CU_POINTER_ATTRIBUTE_MEMORY_TYPE || !emulator::on_device(address_of(address))) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  *static_cast<CUmemorytype*>(value) = CU_MEMORYTYPE_DEVICE;
  return CUDA_SUCCESS;
}

CUresult cuGraphInstantiateWithFlags(CUgraphExec* executable, CUgraph graph, unsigned long long) {
  ENTER("cuGraphInstantiateWithFlags");
  *executable = reinterpret_cast<CUgraphExec>(new std::shared_ptr<const emulator::Graph>(
      new emulator::Graph(*reinterpret_cast<emulator::Graph*>(graph))));
  return CUDA_SUCCESS;
}

CUresult cuGraphLaunch(CUgraphExec executable, CUstream stream) {
  ENTER("cuGraphLaunch");
  return result(
      stream_of(stream).launch(*reinterpret_cast<std::shared_ptr<const emulator::Graph>*>(executable)));
}

CUresult cuGraphDestroy(CUgraph graph) {
  delete reinterpret_cast<emulator::Graph*>(graph);
  return CUDA_SUCCESS;
}

CUresult cuGraphExecDestroy(CUgraphExec executable) {
  delete reinterpret_cast<std::shared_ptr<const emulator::Graph>*>(executable);
  return CUDA_SUCCESS;
}

CUresult cuGetErrorName(CUresult error, const char** name) {
  *name = emulator::text_of(error).name;
  return CUDA_SUCCESS;
}

CUresult cuGetErrorString(CUresult error, const char** text) {
  *text = emulator::text_of(error).text;
  return CUDA_SUCCESS;
}

#pragma GCC visibility pop
}
