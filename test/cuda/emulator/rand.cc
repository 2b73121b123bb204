// libcurand.so.10: is asked for when ONNX Runtime's provider is loaded, and for nothing after that.
extern "C" __attribute__((visibility("default"))) int curandGetVersion(int* version) {
  *version = 101000;
  return 0;
}
