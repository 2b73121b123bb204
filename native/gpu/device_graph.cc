#include "device_graph.h"

#include <string>
#include <vector>

namespace batched::cuda {
namespace {

Status unfit(const std::string& why) { return {Code::kBackend, "not a graph to launch again: " + why}; }

// Whether a copy is from the device: the source's kind is told by its address unless the node knows it.
Status check_copy(const Device& device, GraphNode node) {
  Memcpy3D copy{};
  if (Status status = device.call("cuGraphMemcpyNodeGetParams", device.driver().memcpy_params, node, &copy);
      !status.ok()) {
    return status;
  }
  if (copy.from.memory_type == kMemoryDevice) return {};
  int type = kMemoryHost;
  if (copy.from.memory_type != kMemoryHost) {
    // Fails for memory that CUDA does not know: the host's.
    if (device.driver().pointer_attribute(&type, kPointerMemoryType, copy.from.device) != kSuccess)
      type = kMemoryHost;
  }
  return type == kMemoryDevice ? Status::okay() : unfit("it copies from the host");
}

Status check_node(const Device& device, GraphNode node) {
  int type = 0;
  if (Status status = device.call("cuGraphNodeGetType", device.driver().node_type, node, &type); !status.ok())
    return status;
  switch (type) {
    case kNodeKernel:
    case kNodeMemset:
    case kNodeEmpty:
    case kNodeAllocate:
    case kNodeFree:
      return {};
    case kNodeMemcpy:
      return check_copy(device, node);
    default:
      return unfit("it has a node of type " + std::to_string(type));
  }
}

Status check_nodes(const Device& device, Graph graph) {
  std::size_t count = 0;
  Status status = device.call("cuGraphGetNodes", device.driver().graph_nodes, graph,
                              static_cast<GraphNode*>(nullptr), &count);
  std::vector<GraphNode> nodes(count);
  if (status.ok() && count > 0) {
    status = device.call("cuGraphGetNodes", device.driver().graph_nodes, graph, nodes.data(), &count);
  }
  for (std::size_t i = 0; status.ok() && i < count; ++i) status = check_node(device, nodes[i]);
  return status.ok() && count == 0 ? unfit("nothing was enqueued") : status;
}

}  // namespace

Status DeviceGraph::capture(std::shared_ptr<Device> device, Stream stream,
                            const std::function<Status()>& work, std::unique_ptr<DeviceGraph>* graph) {
  const Driver& driver = device->driver();
  // Relaxed: neither what other threads do, nor memory that `work` asks for, ends it.
  Status status = device->call("cuStreamBeginCapture", driver.capture_begin, stream, kCaptureRelaxed);
  if (!status.ok()) return status;
  status = work();
  Graph recorded = nullptr;
  // Ends it whatever has become of it.
  const Status ended = device->call("cuStreamEndCapture", driver.capture_end, stream, &recorded);
  if (status.ok()) status = ended;
  GraphExec executable = nullptr;
  if (status.ok()) status = check_nodes(*device, recorded);
  if (status.ok()) {
    status = device->call("cuGraphInstantiate", driver.graph_instantiate, &executable, recorded, 0ULL);
  }
  if (recorded != nullptr) (void)device->call("cuGraphDestroy", driver.graph_destroy, recorded);
  if (status.ok()) graph->reset(new DeviceGraph(std::move(device), executable));
  return status;
}

DeviceGraph::~DeviceGraph() {
  (void)device_->use();  // a session may be collected on any thread
  (void)device_->call("cuGraphExecDestroy", device_->driver().graph_exec_destroy, executable_);
}

}  // namespace batched::cuda
