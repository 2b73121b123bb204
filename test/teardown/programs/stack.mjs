// Calls at every depth of the stack, from where it ends upwards: node stack.mjs <micro model>
//
// A call that the stack had no room for is refused by the RangeError of that; no other is lost, and later ones work.
// Node prints warnings of its own where a promise is rejected at the end of the stack.
import { dynamically, inference } from '../../../dist/index.mjs';

const rounds = 20;
const model = await inference.load(process.argv[2], { warmup: false });
const double = dynamically((items) => items.map((item) => 2 * item));

const ways = {
  'single items': () => double.acall(1),
  'items with options': () => double.acall(1, { priority: 1 }),
  'several items': () => double.acall([1, 2]),
  'tensors': () => model.acall({ x: { type: 'float32', dims: [1, 1], data: Float32Array.of(3) } }),
  'rows': () => model.acall({ x: [[3]] }),
}; // prettier-ignore

function atEveryDepth(call) {
  let left = 1000;
  const down = () => {
    try {
      down();
    } catch {
      // The stack ended below.
    }
    if (left-- > 0) call();
  };
  down();
}

for (const [way, make] of Object.entries(ways)) {
  for (let round = 0; round < rounds; round++) {
    const calls = [];
    atEveryDepth(() => {
      calls.push(make());
    });
    for (const { status, reason } of await Promise.allSettled(calls)) {
      if (status === 'rejected' && !(reason instanceof RangeError)) throw reason;
    }
  }
  await make();
  console.log(`${way}: all settled`);
}
for (const { stats } of [double, model]) {
  const { totalProcessed, failed, cancelled, timedOut, closed, admitted } = stats;
  console.log(admitted - totalProcessed - failed - cancelled - timedOut - closed, 'unaccounted');
}
