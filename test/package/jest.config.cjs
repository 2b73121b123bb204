// The npm package as users get it: packed, installed into empty folders, run there. It builds what it packs, so it runs
// by itself, when no other test is using the build.
const shared = require('../../jest.config.cjs');

/** @type {import('jest').Config} */
module.exports = {
  ...shared,
  rootDir: '../..',
  testMatch: ['<rootDir>/test/package/**/*.test.ts'],
  testTimeout: 300_000,
  maxWorkers: 1,
};
