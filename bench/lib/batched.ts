/**
 * The package as its users get it: what `npm run setup` built into dist. The sources would run as well, but
 * through tsx, which keeps function names at a cost that these measurements would show.
 */
import { createRequire } from 'node:module';
import type * as batched from '../../ts/index';

// Telemetry of ONNX Runtime, for every driver in the process: off before the library is loaded.
process.env['ORT_DISABLE_TELEMETRY'] = '1';

export const { dynamically, inference, loadLibrary } = createRequire(__filename)(
  '../../dist/index.js',
) as typeof batched;
