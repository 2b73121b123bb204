// ONNX Runtime's real CUDA provider on an emulated GPU: see test/cuda/emulator/device.h.
const shared = require('../../jest.config.cjs');

/** @type {import('jest').Config} */
module.exports = {
  ...shared,
  rootDir: '../..',
  testMatch: ['<rootDir>/test/cuda/**/*.test.ts'],
  testTimeout: 120_000,
  maxWorkers: 2,
};
