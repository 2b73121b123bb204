# For people who prefer node-gyp to the CMake build. The source list is kept by scripts/check-sources.mjs (--fix).
{
  "targets": [
    {
      "target_name": "batched",
      "sources": [
        "native/engine/attachment.cc",
        "native/engine/batch_layout.cc",
        "native/engine/batch_policy.cc",
        "native/engine/batch_watchers.cc",
        "native/engine/call_pool.cc",
        "native/engine/clock.cc",
        "native/engine/cost_model.cc",
        "native/engine/dispatcher.cc",
        "native/engine/engine.cc",
        "native/engine/histogram.cc",
        "native/engine/lane_thread.cc",
        "native/engine/row_check.cc",
        "native/engine/row_queue.cc",
        "native/engine/scheduler.cc",
        "native/engine/settlement.cc",
        "native/engine/stats.cc",
        "native/engine/status.cc",
        "native/engine/tensor.cc",
        "native/engine/thread.cc",
        "native/engine/warm_up.cc",
        "native/gpu/cuda_device.cc",
        "native/gpu/cuda_driver.cc",
        "native/gpu/device_graph.cc",
        "native/gpu/device_lane.cc",
        "native/ort/cpu_lane.cc",
        "native/ort/cuda_session.cc",
        "native/ort/open_session.cc",
        "native/ort/ort_error.cc",
        "native/ort/ort_library.cc",
        "native/ort/ort_model.cc",
        "native/ort/ort_threads.cc",
        "native/ort/ort_types.cc",
        "native/ort/pooling.cc",
        "native/ort/preload.cc",
        "native/ort/signature_rules.cc",
        "native/addon/addon.cc",
        "native/addon/call_builder.cc",
        "native/addon/convert.cc",
        "native/addon/engine_handle.cc",
        "native/addon/engine_registry.cc",
        "native/addon/environment.cc",
        "native/addon/function_queue.cc",
        "native/addon/js_objects.cc",
        "native/addon/model_handle.cc",
        "native/addon/pack.cc",
      ],
      "include_dirs": [
        "native",
        "<!(node -p \"path.dirname(require.resolve('node-addon-api/package.json'))\")",
        "<!(node scripts/fetch-headers.mjs)"
      ],
      "defines": ["NAPI_VERSION=8", "NAPI_CPP_EXCEPTIONS", "NODE_API_SWALLOW_UNTHROWABLE_EXCEPTIONS", "NODE_ADDON_API_DISABLE_DEPRECATED", "ORT_API_MANUAL_INIT"],
      "cflags!": ["-fno-exceptions"],
      "cflags_cc!": ["-fno-exceptions", "-fno-rtti", "-std=gnu++17", "-std=gnu++20"],
      "cflags_cc": ["-std=c++20", "-O3", "-fvisibility=hidden", "-fvisibility-inlines-hidden"],
      "conditions": [
        ["OS=='linux'", { "ldflags": ["-static-libstdc++", "-Wl,--exclude-libs,ALL", "-Wl,-z,now"] }],
        ["OS=='mac'", {
          "xcode_settings": {
            "CLANG_CXX_LANGUAGE_STANDARD": "c++20",
            "CLANG_CXX_LIBRARY": "libc++",
            "GCC_ENABLE_CPP_EXCEPTIONS": "YES",
            "GCC_ENABLE_CPP_RTTI": "YES",
            "GCC_SYMBOLS_PRIVATE_EXTERN": "YES",
            "MACOSX_DEPLOYMENT_TARGET": "13.0"
          }
        }]
      ]
    }
  ]
}
