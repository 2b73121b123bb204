// libcudart.so.13: of the runtime API what ONNX Runtime's CUDA provider asks for.
#include <cuda_runtime_api.h>

#include <cstring>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

#include "device.h"

namespace {

thread_local cudaError_t last_error = cudaSuccess;

cudaError_t result(emulator::Error error) {
  if (error != 0) last_error = static_cast<cudaError_t>(error);
  return static_cast<cudaError_t>(error);
}

emulator::Stream& stream_of(cudaStream_t stream) { return emulator::stream_or_default(stream); }
emulator::Event& event_of(cudaEvent_t event) { return *reinterpret_cast<emulator::Event*>(event); }

// Kernels by the address that stands for them in the host's code. A cudaKernel_t points at the name.
std::mutex kernels_mutex;
std::unordered_map<const void*, std::string>& kernels() {
  static auto* const all = new std::unordered_map<const void*, std::string>;
  return *all;
}

const std::string& name_of(const void* function) {
  static const std::string none = "a kernel that was not registered";
  const std::lock_guard lock(kernels_mutex);
  const auto found = kernels().find(function);
  return found == kernels().end() ? none : found->second;
}

emulator::Size size_of(dim3 size) { return {size.x, size.y, size.z}; }

struct LaunchConfiguration {
  dim3 grid;
  dim3 block;
  std::size_t shared;
  cudaStream_t stream;
};
thread_local std::vector<LaunchConfiguration> configurations;

}  // namespace

#define ENTER(function) \
  if (const emulator::Error error_ = emulator::enter(function); error_ != 0) return result(error_)

extern "C" {
#pragma GCC visibility push(default)

// --- What the compiler generates calls of

void** __cudaRegisterFatBinary(void*) { return new void*; }
void __cudaRegisterFatBinaryEnd(void**) {}
void __cudaUnregisterFatBinary(void**) {}
void __cudaRegisterVar(void**, char*, char*, const char*, int, std::size_t, int, int) {}
void __cudaRegisterFunction(void**, const char* host, char*, const char* name, int, uint3*, uint3*, dim3*,
                            dim3*, int*) {
  const std::lock_guard lock(kernels_mutex);
  kernels()[host] = name;
}

unsigned __cudaPushCallConfiguration(dim3 grid, dim3 block, std::size_t shared, cudaStream_t stream) {
  configurations.push_back({grid, block, shared, stream});
  return 0;
}

cudaError_t __cudaPopCallConfiguration(dim3* grid, dim3* block, std::size_t* shared, void* stream) {
  const LaunchConfiguration last = configurations.back();
  configurations.pop_back();
  *grid = last.grid;
  *block = last.block;
  *shared = last.shared;
  *static_cast<cudaStream_t*>(stream) = last.stream;
  return cudaSuccess;
}

cudaError_t __cudaGetKernel(cudaKernel_t* kernel, const void* function) {
  *kernel = reinterpret_cast<cudaKernel_t>(const_cast<std::string*>(&name_of(function)));
  return cudaSuccess;
}

cudaError_t __cudaLaunchKernel(cudaKernel_t kernel, dim3 grid, dim3 block, void** arguments, std::size_t,
                               cudaStream_t stream) {
  ENTER("cudaLaunchKernel");
  return result(emulator::launch_kernel(reinterpret_cast<const std::string*>(kernel)->c_str(), size_of(grid),
                                        size_of(block), arguments, stream_of(stream)));
}

cudaError_t cudaLaunchKernel(const void* function, dim3 grid, dim3 block, void** arguments, std::size_t,
                             cudaStream_t stream) {
  ENTER("cudaLaunchKernel");
  return result(emulator::launch_kernel(name_of(function).c_str(), size_of(grid), size_of(block), arguments,
                                        stream_of(stream)));
}

cudaError_t cudaLaunchKernelExC(const cudaLaunchConfig_t* config, const void* function, void** arguments) {
  ENTER("cudaLaunchKernel");
  return result(emulator::launch_kernel(name_of(function).c_str(), size_of(config->gridDim),
                                        size_of(config->blockDim), arguments, stream_of(config->stream)));
}

cudaError_t cudaFuncGetAttributes(cudaFuncAttributes* attributes, const void*) {
  *attributes = {};
  attributes->maxThreadsPerBlock = 1024;
  attributes->numRegs = 32;
  attributes->binaryVersion = 90;
  attributes->ptxVersion = 90;
  attributes->maxDynamicSharedSizeBytes = 48 << 10;
  return cudaSuccess;
}
cudaError_t cudaFuncSetAttribute(const void*, cudaFuncAttribute, int) { return cudaSuccess; }
cudaError_t cudaKernelSetAttributeForDevice(cudaKernel_t, cudaFuncAttribute, int, int) { return cudaSuccess; }
cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int* blocks, const void*, int, std::size_t,
                                                                   unsigned) {
  *blocks = 2;
  return cudaSuccess;
}

cudaError_t cudaLibraryLoadData(cudaLibrary_t*, const void*, cudaJitOption*, void**, unsigned,
                                cudaLibraryOption*, void**, unsigned) {
  return result(emulator::kNotSupported);
}
cudaError_t cudaLibraryGetKernel(cudaKernel_t*, cudaLibrary_t, const char*) {
  return result(emulator::kNotSupported);
}
cudaError_t cudaLibraryUnload(cudaLibrary_t) { return cudaSuccess; }
cudaError_t cudaGetDriverEntryPointByVersion(const char*, void** function, unsigned, unsigned long long,
                                             cudaDriverEntryPointQueryResult* status) {
  *function = nullptr;
  if (status != nullptr) *status = cudaDriverEntryPointSymbolNotFound;
  return cudaSuccess;
}

// --- Devices and errors

cudaError_t cudaGetDeviceCount(int* count) {
  ENTER("cudaGetDeviceCount");
  *count = emulator::device_count();
  return cudaSuccess;
}
cudaError_t cudaGetDevice(int* device) {
  *device = emulator::current_device();
  return cudaSuccess;
}
cudaError_t cudaSetDevice(int device) {
  ENTER("cudaSetDevice");
  return result(emulator::use_device(device));
}
cudaError_t cudaDriverGetVersion(int* version) {
  *version = CUDART_VERSION;
  return cudaSuccess;
}
cudaError_t cudaRuntimeGetVersion(int* version) {
  *version = CUDART_VERSION;
  return cudaSuccess;
}

// About those of an H100.
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device) {
  if (device < 0 || device >= emulator::device_count()) return result(emulator::kInvalidDevice);
  *properties = {};
  std::strcpy(properties->name, "emulated GPU");
  std::size_t free = 0;
  (void)emulator::memory(&free, &properties->totalGlobalMem);
  properties->sharedMemPerBlock = 48 << 10;
  properties->sharedMemPerBlockOptin = 227 << 10;
  properties->sharedMemPerMultiprocessor = 228 << 10;
  properties->regsPerBlock = 65536;
  properties->regsPerMultiprocessor = 65536;
  properties->warpSize = 32;
  properties->maxThreadsPerBlock = 1024;
  properties->maxThreadsDim[0] = properties->maxThreadsDim[1] = 1024;
  properties->maxThreadsDim[2] = 64;
  properties->maxGridSize[0] = 2147483647;
  properties->maxGridSize[1] = properties->maxGridSize[2] = 65535;
  properties->major = 9;
  properties->minor = 0;
  properties->multiProcessorCount = 132;
  properties->maxThreadsPerMultiProcessor = 2048;
  properties->l2CacheSize = 50 << 20;
  properties->asyncEngineCount = 3;
  properties->unifiedAddressing = 1;
  return cudaSuccess;
}

cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int device) {
  cudaDeviceProp properties;
  if (const cudaError_t error = cudaGetDeviceProperties(&properties, device); error != cudaSuccess)
    return error;
  switch (attribute) {
    case cudaDevAttrMultiProcessorCount:
      *value = properties.multiProcessorCount;
      break;
    case cudaDevAttrComputeCapabilityMajor:
      *value = properties.major;
      break;
    case cudaDevAttrComputeCapabilityMinor:
      *value = properties.minor;
      break;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin:
      *value = static_cast<int>(properties.sharedMemPerBlockOptin);
      break;
    case cudaDevAttrMaxSharedMemoryPerBlock:
      *value = static_cast<int>(properties.sharedMemPerBlock);
      break;
    case cudaDevAttrMaxSharedMemoryPerMultiprocessor:
      *value = static_cast<int>(properties.sharedMemPerMultiprocessor);
      break;
    case cudaDevAttrMaxThreadsPerMultiProcessor:
      *value = properties.maxThreadsPerMultiProcessor;
      break;
    case cudaDevAttrWarpSize:
      *value = properties.warpSize;
      break;
    default:
      *value = 0;
  }
  return cudaSuccess;
}

cudaError_t cudaDeviceSynchronize() {
  ENTER("cudaDeviceSynchronize");
  return result(emulator::synchronize_device());
}

const char* cudaGetErrorName(cudaError_t error) { return emulator::text_of(error).runtime_name; }
const char* cudaGetErrorString(cudaError_t error) { return emulator::text_of(error).text; }
cudaError_t cudaPeekAtLastError() {
  const emulator::Error error = emulator::enter("cudaPeekAtLastError");
  return error != 0 ? result(error) : last_error;
}
cudaError_t cudaGetLastError() {
  const cudaError_t error = cudaPeekAtLastError();
  last_error = cudaSuccess;
  return error;
}

// --- Memory

cudaError_t cudaMalloc(void** memory, std::size_t bytes) {
  ENTER("cudaMalloc");
  return result(emulator::allocate(bytes, memory));
}
cudaError_t cudaFree(void* memory) {
  ENTER("cudaFree");
  return result(emulator::release(memory));
}
cudaError_t cudaHostAlloc(void** memory, std::size_t bytes, unsigned) {
  ENTER("cudaHostAlloc");
  return result(emulator::allocate_host(bytes, memory));
}
cudaError_t cudaMallocHost(void** memory, std::size_t bytes) {
  ENTER("cudaMallocHost");
  return result(emulator::allocate_host(bytes, memory));
}
cudaError_t cudaFreeHost(void* memory) {
  ENTER("cudaFreeHost");
  return result(emulator::release_host(memory));
}
cudaError_t cudaMemGetInfo(std::size_t* free, std::size_t* total) {
  ENTER("cudaMemGetInfo");
  return result(emulator::memory(free, total));
}

cudaError_t cudaMallocFromPoolAsync(void**, std::size_t, cudaMemPool_t, cudaStream_t) {
  return result(emulator::kNotSupported);
}
cudaError_t cudaFreeAsync(void*, cudaStream_t) { return result(emulator::kNotSupported); }
cudaError_t cudaMemPoolCreate(cudaMemPool_t*, const cudaMemPoolProps*) {
  return result(emulator::kNotSupported);
}
cudaError_t cudaMemPoolDestroy(cudaMemPool_t) { return result(emulator::kNotSupported); }
cudaError_t cudaMemPoolGetAttribute(cudaMemPool_t, cudaMemPoolAttr, void*) {
  return result(emulator::kNotSupported);
}
cudaError_t cudaMemPoolSetAttribute(cudaMemPool_t, cudaMemPoolAttr, void*) {
  return result(emulator::kNotSupported);
}
cudaError_t cudaMemPoolTrimTo(cudaMemPool_t, std::size_t) { return result(emulator::kNotSupported); }

cudaError_t cudaMemcpy(void* to, const void* from, std::size_t bytes, cudaMemcpyKind) {
  ENTER("cudaMemcpy");
  return result(emulator::copy(to, from, bytes, emulator::default_stream(), true));
}
cudaError_t cudaMemcpyAsync(void* to, const void* from, std::size_t bytes, cudaMemcpyKind,
                            cudaStream_t stream) {
  ENTER(emulator::on_device(from)
            ? emulator::on_device(to) ? "cudaMemcpyAsync" : "cudaMemcpyAsync to the host"
            : "cudaMemcpyAsync from the host");
  return result(emulator::copy(to, from, bytes, stream_of(stream), false));
}
cudaError_t cudaMemcpy2DAsync(void* to, std::size_t to_pitch, const void* from, std::size_t from_pitch,
                              std::size_t width, std::size_t height, cudaMemcpyKind, cudaStream_t stream) {
  ENTER("cudaMemcpy2DAsync");
  return result(stream_of(stream).enqueue("copy", [=] {
    for (std::size_t row = 0; row < height; ++row) {
      std::memcpy(emulator::bytes_at(to) + row * to_pitch, emulator::bytes_at(from) + row * from_pitch,
                  width);
    }
  }));
}
cudaError_t cudaMemcpyFromSymbol(void*, const void*, std::size_t, std::size_t, cudaMemcpyKind) {
  return result(emulator::kNotSupported);
}
cudaError_t cudaMemset(void* memory, int value, std::size_t bytes) {
  ENTER("cudaMemset");
  emulator::Stream& stream = emulator::default_stream();
  stream.enqueue("kernel", [=] { std::memset(emulator::bytes_at(memory), value, bytes); });
  return result(stream.synchronize());
}
cudaError_t cudaMemsetAsync(void* memory, int value, std::size_t bytes, cudaStream_t stream) {
  ENTER("cudaMemsetAsync");
  return result(
      stream_of(stream).enqueue("kernel", [=] { std::memset(emulator::bytes_at(memory), value, bytes); }));
}

// --- Streams, events, graphs

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned) {
  ENTER("cudaStreamCreateWithFlags");
  *stream = reinterpret_cast<cudaStream_t>(new emulator::Stream(emulator::current_device()));
  return cudaSuccess;
}
cudaError_t cudaStreamCreate(cudaStream_t* stream) { return cudaStreamCreateWithFlags(stream, 0); }
cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  ENTER("cudaStreamDestroy");
  delete &stream_of(stream);
  return cudaSuccess;
}
cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  ENTER("cudaStreamSynchronize");
  return result(stream_of(stream).synchronize());
}
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned) {
  ENTER("cudaStreamWaitEvent");
  return result(stream_of(stream).wait_for(event_of(event)));
}
cudaError_t cudaLaunchHostFunc(cudaStream_t stream, cudaHostFn_t function, void* data) {
  ENTER("cudaLaunchHostFunc");
  return result(stream_of(stream).enqueue("host", [=] { function(data); }));
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) {
  ENTER("cudaEventCreateWithFlags");
  *event = reinterpret_cast<cudaEvent_t>(new emulator::Event);
  return cudaSuccess;
}
cudaError_t cudaEventCreate(cudaEvent_t* event) { return cudaEventCreateWithFlags(event, 0); }
cudaError_t cudaEventDestroy(cudaEvent_t event) {
  ENTER("cudaEventDestroy");
  delete &event_of(event);
  return cudaSuccess;
}
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  ENTER("cudaEventRecord");
  return result(stream_of(stream).record(event_of(event)));
}
cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  ENTER("cudaEventSynchronize");
  return result(event_of(event).synchronize());
}
cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t from, cudaEvent_t to) {
  ENTER("cudaEventElapsedTime");
  return result(event_of(to).since(event_of(from), milliseconds));
}

cudaError_t cudaStreamIsCapturing(cudaStream_t stream, cudaStreamCaptureStatus* status) {
  *status = stream_of(stream).capturing() ? cudaStreamCaptureStatusActive : cudaStreamCaptureStatusNone;
  return cudaSuccess;
}

// ONNX Runtime's own capture is not used.
cudaError_t cudaStreamBeginCapture(cudaStream_t, cudaStreamCaptureMode) {
  return result(emulator::kNotSupported);
}
cudaError_t cudaStreamEndCapture(cudaStream_t, cudaGraph_t*) { return result(emulator::kNotSupported); }
cudaError_t cudaGraphInstantiate(cudaGraphExec_t*, cudaGraph_t, unsigned long long) {
  return result(emulator::kNotSupported);
}
cudaError_t cudaGraphLaunch(cudaGraphExec_t, cudaStream_t) { return result(emulator::kNotSupported); }
cudaError_t cudaGraphDestroy(cudaGraph_t) { return result(emulator::kNotSupported); }
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t) { return result(emulator::kNotSupported); }

#pragma GCC visibility pop
}
