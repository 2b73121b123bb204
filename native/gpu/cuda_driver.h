// NVIDIA's driver library, looked up at run time: one binary serves every CUDA version, and machines without
// a GPU. Private to native/gpu and native/ort.
#pragma once

#include <cstddef>

#include "engine/status.h"

namespace batched::cuda {

// The driver's own types, as its library passes them.
using Result = int;
using DevicePtr = unsigned long long;  // NOLINT(google-runtime-int): CUdeviceptr_v2
using Context = struct ContextTag*;
using Stream = struct StreamTag*;
using Event = struct EventTag*;
using Graph = struct GraphTag*;
using GraphNode = struct GraphNodeTag*;
using GraphExec = struct GraphExecTag*;

// CUDA_MEMCPY3D: what a copy in a graph is from and to.
struct Memcpy3D {
  struct End {
    std::size_t x, y, z, lod;
    int memory_type;
    const void* host;
    DevicePtr device;
    void* array;
    void* reserved;
    std::size_t pitch, height;
  };
  End from;
  End to;
  std::size_t width, height, depth;
};

inline constexpr Result kSuccess = 0;
inline constexpr Result kErrorOutOfMemory = 2;
inline constexpr Result kErrorNotReady = 600;
inline constexpr unsigned kStreamNonBlocking = 1;   // not ordered behind the default stream
inline constexpr unsigned kEventBlockingSync = 1;   // who waits for it sleeps
inline constexpr unsigned kEventDisableTiming = 2;  // cheaper to record
inline constexpr unsigned kHostPortable = 1;        // pinned for every device
inline constexpr int kCaptureRelaxed = 2;           // other calls are allowed meanwhile, of any thread
inline constexpr int kMemoryHost = 1;
inline constexpr int kMemoryDevice = 2;
inline constexpr int kPointerMemoryType = 2;  // the attribute
// What a graph may consist of.
inline constexpr int kNodeKernel = 0;
inline constexpr int kNodeMemcpy = 1;
inline constexpr int kNodeMemset = 2;
inline constexpr int kNodeEmpty = 5;
inline constexpr int kNodeAllocate = 10;
inline constexpr int kNodeFree = 11;

// The functions we call. What they do stands in NVIDIA's documentation of the driver API under the name
// beside each.
struct Driver {
  Result (*init)(unsigned flags) = nullptr;                                  // cuInit
  Result (*driver_version)(int* version) = nullptr;                          // cuDriverGetVersion
  Result (*device_count)(int* count) = nullptr;                              // cuDeviceGetCount
  Result (*device_get)(int* device, int ordinal) = nullptr;                  // cuDeviceGet
  Result (*device_name)(char* name, int length, int device) = nullptr;       // cuDeviceGetName
  Result (*primary_context_retain)(Context* context, int device) = nullptr;  // cuDevicePrimaryCtxRetain
  Result (*set_current)(Context context) = nullptr;                          // cuCtxSetCurrent
  Result (*memory_info)(std::size_t* free, std::size_t* total) = nullptr;    // cuMemGetInfo
  Result (*allocate)(DevicePtr* memory, std::size_t bytes) = nullptr;        // cuMemAlloc
  Result (*free)(DevicePtr memory) = nullptr;                                // cuMemFree
  Result (*host_allocate)(void** memory, std::size_t bytes, unsigned flags) = nullptr;  // cuMemHostAlloc
  Result (*host_free)(void* memory) = nullptr;                                          // cuMemFreeHost
  Result (*stream_create)(Stream* stream, unsigned flags) = nullptr;                    // cuStreamCreate
  Result (*stream_destroy)(Stream stream) = nullptr;                                    // cuStreamDestroy
  Result (*stream_synchronize)(Stream stream) = nullptr;                                // cuStreamSynchronize
  Result (*stream_wait_event)(Stream stream, Event event, unsigned flags) = nullptr;    // cuStreamWaitEvent
  Result (*event_create)(Event* event, unsigned flags) = nullptr;                       // cuEventCreate
  Result (*event_destroy)(Event event) = nullptr;                                       // cuEventDestroy
  Result (*event_record)(Event event, Stream stream) = nullptr;                         // cuEventRecord
  Result (*event_synchronize)(Event event) = nullptr;                                   // cuEventSynchronize
  Result (*event_elapsed)(float* milliseconds, Event from, Event to) = nullptr;         // cuEventElapsedTime
  Result (*copy_in)(DevicePtr to, const void* from, std::size_t bytes,
                    Stream) = nullptr;                                                // cuMemcpyHtoDAsync
  Result (*copy_out)(void* to, DevicePtr from, std::size_t bytes, Stream) = nullptr;  // cuMemcpyDtoHAsync
  Result (*capture_begin)(Stream, int mode) = nullptr;                                // cuStreamBeginCapture
  Result (*capture_end)(Stream, Graph* graph) = nullptr;                              // cuStreamEndCapture
  Result (*graph_nodes)(Graph, GraphNode* nodes, std::size_t* count) = nullptr;       // cuGraphGetNodes
  Result (*node_type)(GraphNode, int* type) = nullptr;                                // cuGraphNodeGetType
  Result (*memcpy_params)(GraphNode, Memcpy3D* copy) = nullptr;                  // cuGraphMemcpyNodeGetParams
  Result (*pointer_attribute)(void* value, int attribute, DevicePtr) = nullptr;  // cuPointerGetAttribute
  Result (*graph_instantiate)(GraphExec* executable, Graph,
                              unsigned long long flags) = nullptr;  // cuGraphInstantiateWithFlags
  Result (*graph_launch)(GraphExec, Stream) = nullptr;              // cuGraphLaunch
  Result (*graph_destroy)(Graph) = nullptr;                         // cuGraphDestroy
  Result (*graph_exec_destroy)(GraphExec) = nullptr;                // cuGraphExecDestroy
  Result (*error_name)(Result, const char** name) = nullptr;        // cuGetErrorName
  Result (*error_string)(Result, const char** text) = nullptr;      // cuGetErrorString
};

// The machine's driver, loaded and initialised once, for good. kProviderUnavailable says why there is none.
// Any thread.
Status load_driver(const Driver** driver);

// Fills `driver` from the library at `path` (a name is searched for as usual) and initialises it.
Status load_driver_from(const char* path, Driver* driver);

}  // namespace batched::cuda
