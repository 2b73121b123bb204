/**
 * Jest environment for tests that run onnxruntime-node. Jest gives each test file a realm with typed arrays of
 * its own, and native code makes those of the outer realm, which onnxruntime-common then refuses. Here the test
 * file sees the outer ones. Name it in the test file's first comment: @jest-environment ./test/helpers/...
 */
const { TestEnvironment } = require('jest-environment-node');

const TYPED_ARRAYS = [
  Float32Array,
  Float64Array,
  Int8Array,
  Uint8Array,
  Int16Array,
  Uint16Array,
  Int32Array,
  Uint32Array,
  BigInt64Array,
  BigUint64Array,
];

module.exports = class OnnxRuntimeEnvironment extends TestEnvironment {
  async setup() {
    await super.setup();
    for (const type of TYPED_ARRAYS) this.global[type.name] = type;
  }
};
