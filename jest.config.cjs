// ONNX Runtime's telemetry is off in every test, also in those that load onnxruntime-node by themselves. Set here and
// not in a set-up file: native code reads the real environment, which the workers inherit from this process, while a
// test file's process.env is a copy that only JavaScript sees.
process.env.ORT_DISABLE_TELEMETRY = '1';

/** @type {import('jest').Config} */
module.exports = {
  testEnvironment: 'node',
  testMatch: ['<rootDir>/test/ts/**/*.test.ts', '<rootDir>/test/teardown/**/*.test.ts'],
  // Tests import the TypeScript sources; the addon is the one in build/Release.
  transform: {
    '^.+\\.(ts|mts|cts)$': [
      '@swc/jest',
      {
        jsc: {
          target: 'es2022',
          parser: { syntax: 'typescript', decorators: true },
          transform: { decoratorVersion: '2023-11' },
        },
        module: { type: 'commonjs' },
        sourceMaps: 'inline',
      },
    ],
  },
  modulePathIgnorePatterns: ['<rootDir>/build/', '<rootDir>/dist/', '<rootDir>/.cache/'],
  testTimeout: 60_000,
  maxWorkers: 2,
  // A fresh process for every test file: onnxruntime-node aborts when it is loaded a second time in one, since it
  // registers the same clean-up hook again.
  workerIdleMemoryLimit: '1MB',
};
