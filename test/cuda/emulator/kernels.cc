#include "kernels.h"

#include <string>

namespace emulator {

Type type_in(std::string_view arguments, int at) {
  std::size_t i = arguments.find('I') + 1;
  for (;; --at) {
    const std::string_view rest = arguments.substr(i);
    const bool half = rest.starts_with("6__half");
    const bool again = rest.starts_with("S");  // __half, named before
    if (at == 0) {
      return half || again    ? Type::kHalf
             : rest[0] == 'f' ? Type::kFloat
             : rest[0] == 'l' ? Type::kLong
             : rest[0] == 'i' ? Type::kInt
             : rest[0] == 'h' ? Type::kByte
                              : Type::kNone;
    }
    i += half ? 7 : again ? rest.find('_') + 1 : 1;
  }
}

Error launch_kernel(const char* name, Size grid, Size block, void** arguments, Stream& stream) {
  const Launch launch{name, grid, block, arguments};
  Work work = elementwise_kernel(launch);
  if (work == nullptr) work = transformer_kernel(launch);
  if (work == nullptr) {
    (void)enter((std::string("unknown kernel ") + name).c_str());
    work = [] {};
  }
  return stream.enqueue("kernel", std::move(work));
}

}  // namespace emulator
