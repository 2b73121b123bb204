// What cuda_driver.h says of the driver, against NVIDIA's own header where a CUDA toolkit is installed.
#include <gtest/gtest.h>

#include <cstddef>

#include "gpu/cuda_driver.h"

#if __has_include(<cuda.h>)
#include <cuda.h>

namespace batched::cuda {
namespace {

static_assert(kSuccess == CUDA_SUCCESS);
static_assert(kErrorOutOfMemory == CUDA_ERROR_OUT_OF_MEMORY);
static_assert(kErrorNotReady == CUDA_ERROR_NOT_READY);
static_assert(kStreamNonBlocking == CU_STREAM_NON_BLOCKING);
static_assert(kEventBlockingSync == CU_EVENT_BLOCKING_SYNC);
static_assert(kEventDisableTiming == CU_EVENT_DISABLE_TIMING);
static_assert(kHostPortable == CU_MEMHOSTALLOC_PORTABLE);
static_assert(kCaptureRelaxed == CU_STREAM_CAPTURE_MODE_RELAXED);
static_assert(kMemoryHost == CU_MEMORYTYPE_HOST);
static_assert(kMemoryDevice == CU_MEMORYTYPE_DEVICE);
static_assert(kPointerMemoryType == CU_POINTER_ATTRIBUTE_MEMORY_TYPE);
static_assert(kNodeKernel == CU_GRAPH_NODE_TYPE_KERNEL);
static_assert(kNodeMemcpy == CU_GRAPH_NODE_TYPE_MEMCPY);
static_assert(kNodeMemset == CU_GRAPH_NODE_TYPE_MEMSET);
static_assert(kNodeEmpty == CU_GRAPH_NODE_TYPE_EMPTY);
static_assert(kNodeAllocate == CU_GRAPH_NODE_TYPE_MEM_ALLOC);
static_assert(kNodeFree == CU_GRAPH_NODE_TYPE_MEM_FREE);
static_assert(sizeof(Memcpy3D) == sizeof(CUDA_MEMCPY3D));
static_assert(offsetof(Memcpy3D, from.memory_type) == offsetof(CUDA_MEMCPY3D, srcMemoryType));
static_assert(offsetof(Memcpy3D, from.device) == offsetof(CUDA_MEMCPY3D, srcDevice));

// Our declaration of a function, and NVIDIA's with its types put in terms of ours.
template <typename T>
struct Ours {
  using type = T;
};
template <typename T>
struct Ours<T*> {
  using type = typename Ours<T>::type*;
};
template <>
struct Ours<CUresult> {
  using type = Result;
};
template <>
struct Ours<CUcontext> {
  using type = Context;
};
template <>
struct Ours<CUstream> {
  using type = Stream;
};
template <>
struct Ours<CUevent> {
  using type = Event;
};
template <>
struct Ours<CUgraph> {
  using type = Graph;
};
template <>
struct Ours<CUgraphNode> {
  using type = GraphNode;
};
template <>
struct Ours<CUgraphExec> {
  using type = GraphExec;
};
template <>
struct Ours<CUstreamCaptureMode> {
  using type = int;
};
template <>
struct Ours<CUgraphNodeType> {
  using type = int;
};
template <>
struct Ours<CUpointer_attribute> {
  using type = int;
};
template <>
struct Ours<CUDA_MEMCPY3D> {
  using type = Memcpy3D;
};
template <typename R, typename... A>
struct Ours<R(A...)> {
  using type = typename Ours<R>::type (*)(typename Ours<A>::type...);
};

template <typename Theirs, typename Member>
constexpr bool same(Member Driver::* /*member*/) {
  return std::is_same_v<typename Ours<Theirs>::type, Member>;
}

TEST(CudaDriverTest, FunctionsAreDeclaredAsNvidiaDeclaresThem) {
  EXPECT_TRUE(same<decltype(cuInit)>(&Driver::init));
  EXPECT_TRUE(same<decltype(cuDriverGetVersion)>(&Driver::driver_version));
  EXPECT_TRUE(same<decltype(cuDeviceGetCount)>(&Driver::device_count));
  EXPECT_TRUE(same<decltype(cuDeviceGet)>(&Driver::device_get));
  EXPECT_TRUE(same<decltype(cuDeviceGetName)>(&Driver::device_name));
  EXPECT_TRUE(same<decltype(cuDevicePrimaryCtxRetain)>(&Driver::primary_context_retain));
  EXPECT_TRUE(same<decltype(cuCtxSetCurrent)>(&Driver::set_current));
  EXPECT_TRUE(same<decltype(cuMemGetInfo)>(&Driver::memory_info));
  EXPECT_TRUE(same<decltype(cuMemAlloc)>(&Driver::allocate));
  EXPECT_TRUE(same<decltype(cuMemFree)>(&Driver::free));
  EXPECT_TRUE(same<decltype(cuMemHostAlloc)>(&Driver::host_allocate));
  EXPECT_TRUE(same<decltype(cuMemFreeHost)>(&Driver::host_free));
  EXPECT_TRUE(same<decltype(cuStreamCreate)>(&Driver::stream_create));
  EXPECT_TRUE(same<decltype(cuStreamDestroy)>(&Driver::stream_destroy));
  EXPECT_TRUE(same<decltype(cuStreamSynchronize)>(&Driver::stream_synchronize));
  EXPECT_TRUE(same<decltype(cuStreamWaitEvent)>(&Driver::stream_wait_event));
  EXPECT_TRUE(same<decltype(cuEventCreate)>(&Driver::event_create));
  EXPECT_TRUE(same<decltype(cuEventDestroy)>(&Driver::event_destroy));
  EXPECT_TRUE(same<decltype(cuEventRecord)>(&Driver::event_record));
  EXPECT_TRUE(same<decltype(cuEventSynchronize)>(&Driver::event_synchronize));
  EXPECT_TRUE(same<decltype(cuEventElapsedTime)>(&Driver::event_elapsed));
  EXPECT_TRUE(same<decltype(cuMemcpyHtoDAsync)>(&Driver::copy_in));
  EXPECT_TRUE(same<decltype(cuMemcpyDtoHAsync)>(&Driver::copy_out));
  EXPECT_TRUE(same<decltype(cuStreamBeginCapture)>(&Driver::capture_begin));
  EXPECT_TRUE(same<decltype(cuStreamEndCapture)>(&Driver::capture_end));
  EXPECT_TRUE(same<decltype(cuGraphGetNodes)>(&Driver::graph_nodes));
  EXPECT_TRUE(same<decltype(cuGraphNodeGetType)>(&Driver::node_type));
  EXPECT_TRUE(same<decltype(cuGraphMemcpyNodeGetParams)>(&Driver::memcpy_params));
  EXPECT_TRUE(same<decltype(cuPointerGetAttribute)>(&Driver::pointer_attribute));
  EXPECT_TRUE(same<decltype(cuGraphInstantiateWithFlags)>(&Driver::graph_instantiate));
  EXPECT_TRUE(same<decltype(cuGraphLaunch)>(&Driver::graph_launch));
  EXPECT_TRUE(same<decltype(cuGraphDestroy)>(&Driver::graph_destroy));
  EXPECT_TRUE(same<decltype(cuGraphExecDestroy)>(&Driver::graph_exec_destroy));
  EXPECT_TRUE(same<decltype(cuGetErrorName)>(&Driver::error_name));
  EXPECT_TRUE(same<decltype(cuGetErrorString)>(&Driver::error_string));
}

}  // namespace
}  // namespace batched::cuda

#endif
