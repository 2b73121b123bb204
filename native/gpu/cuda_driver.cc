#include "cuda_driver.h"

#include <dlfcn.h>

#include <string>

namespace batched::cuda {
namespace {

#if defined(_WIN32)
#error "the driver library has another name and calling convention on Windows"
#endif
constexpr const char* kLibrary = "libcuda.so.1";

std::string dl_error() {
  const char* const error = dlerror();
  return error == nullptr ? "the reason is unknown" : error;
}

template <typename Function>
void look_up(void* library, const char* name, Function* function, std::string* missing) {
  *function = reinterpret_cast<Function>(dlsym(library, name));
  if (*function == nullptr) *missing += (missing->empty() ? "" : ", ") + std::string(name);
}

}  // namespace

Status load_driver_from(const char* path, Driver* driver) {
  void* const library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    return {Code::kProviderUnavailable, "NVIDIA's driver could not be loaded: " + dl_error()};
  }
  std::string missing;
  // Where a function has changed its arguments, the newer form has a number at the end of its name.
  look_up(library, "cuInit", &driver->init, &missing);
  look_up(library, "cuDriverGetVersion", &driver->driver_version, &missing);
  look_up(library, "cuDeviceGetCount", &driver->device_count, &missing);
  look_up(library, "cuDeviceGet", &driver->device_get, &missing);
  look_up(library, "cuDeviceGetName", &driver->device_name, &missing);
  look_up(library, "cuDevicePrimaryCtxRetain", &driver->primary_context_retain, &missing);
  look_up(library, "cuCtxSetCurrent", &driver->set_current, &missing);
  look_up(library, "cuMemGetInfo_v2", &driver->memory_info, &missing);
  look_up(library, "cuMemAlloc_v2", &driver->allocate, &missing);
  look_up(library, "cuMemFree_v2", &driver->free, &missing);
  look_up(library, "cuMemHostAlloc", &driver->host_allocate, &missing);
  look_up(library, "cuMemFreeHost", &driver->host_free, &missing);
  look_up(library, "cuStreamCreate", &driver->stream_create, &missing);
  look_up(library, "cuStreamDestroy_v2", &driver->stream_destroy, &missing);
  look_up(library, "cuStreamSynchronize", &driver->stream_synchronize, &missing);
  look_up(library, "cuStreamWaitEvent", &driver->stream_wait_event, &missing);
  look_up(library, "cuEventCreate", &driver->event_create, &missing);
  look_up(library, "cuEventDestroy_v2", &driver->event_destroy, &missing);
  look_up(library, "cuEventRecord", &driver->event_record, &missing);
  look_up(library, "cuEventSynchronize", &driver->event_synchronize, &missing);
  look_up(library, "cuEventElapsedTime", &driver->event_elapsed, &missing);
  look_up(library, "cuMemcpyHtoDAsync_v2", &driver->copy_in, &missing);
  look_up(library, "cuMemcpyDtoHAsync_v2", &driver->copy_out, &missing);
  look_up(library, "cuStreamBeginCapture_v2", &driver->capture_begin, &missing);
  look_up(library, "cuStreamEndCapture", &driver->capture_end, &missing);
  look_up(library, "cuGraphGetNodes", &driver->graph_nodes, &missing);
  look_up(library, "cuGraphNodeGetType", &driver->node_type, &missing);
  look_up(library, "cuGraphMemcpyNodeGetParams", &driver->memcpy_params, &missing);
  look_up(library, "cuPointerGetAttribute", &driver->pointer_attribute, &missing);
  look_up(library, "cuGraphInstantiateWithFlags", &driver->graph_instantiate, &missing);
  look_up(library, "cuGraphLaunch", &driver->graph_launch, &missing);
  look_up(library, "cuGraphDestroy", &driver->graph_destroy, &missing);
  look_up(library, "cuGraphExecDestroy", &driver->graph_exec_destroy, &missing);
  look_up(library, "cuGetErrorName", &driver->error_name, &missing);
  look_up(library, "cuGetErrorString", &driver->error_string, &missing);
  if (!missing.empty()) {
    return {Code::kProviderUnavailable, "NVIDIA's driver is too old: it lacks " + missing};
  }
  if (const Result result = driver->init(0); result != kSuccess) {
    const char* text = nullptr;
    driver->error_string(result, &text);
    return {Code::kProviderUnavailable,
            "NVIDIA's driver does not start: " + std::string(text == nullptr ? "error " : text) +
                (text == nullptr ? std::to_string(result) : "")};
  }
  return {};
}

Status load_driver(const Driver** driver) {
  static Driver loaded;
  static const auto* const status = new Status(load_driver_from(kLibrary, &loaded));  // outlives every thread
  *driver = &loaded;
  return *status;
}

}  // namespace batched::cuda
