// A CUDA graph: work that was enqueued on a stream once, recorded, and is launched as one from then on.
// Private to native/gpu and native/ort.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <utility>

#include "cuda_device.h"

namespace batched::cuda {

class DeviceGraph {
 public:
  // Records what `work` enqueues on `stream`, which it does not do then. kBackend where that is no graph to
  // launch more than once: `work` waited for the device, or something in it reads or calls into the host,
  // which will have moved on by the next launch. The stream is as before.
  static Status capture(std::shared_ptr<Device> device, Stream stream, const std::function<Status()>& work,
                        std::unique_ptr<DeviceGraph>* graph);
  ~DeviceGraph();
  DeviceGraph(const DeviceGraph&) = delete;
  DeviceGraph& operator=(const DeviceGraph&) = delete;

  Status launch(Stream stream) const {
    return device_->call("cuGraphLaunch", device_->driver().graph_launch, executable_, stream);
  }

 private:
  DeviceGraph(std::shared_ptr<Device> device, GraphExec executable)
      : device_(std::move(device)), executable_(executable) {}

  const std::shared_ptr<Device> device_;
  const GraphExec executable_;
};

}  // namespace batched::cuda
