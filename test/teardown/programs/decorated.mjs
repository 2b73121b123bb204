// Objects with decorated methods that nobody refers to any more:
// node --expose-gc decorated.mjs <standard | legacy>
import ts from 'typescript';
import * as batched from '../../../dist/index.mjs';

const { batchedOf } = batched;
const dialect = process.argv[2];
const say = (text) => process.stdout.write(`${text}\n`);
const turn = () => new Promise((resolve) => setImmediate(resolve));

function compile(source) {
  const compilerOptions = {
    target: ts.ScriptTarget.ES2022,
    module: ts.ModuleKind.CommonJS,
    experimentalDecorators: dialect === 'legacy',
  };
  const exports = {};
  const code = ts.transpileModule(source, { compilerOptions }).outputText;
  new Function('exports', 'require', code)(exports, () => batched);
  return exports;
}

const { Service, Heir } = compile(`
  import { aio, dynamically } from 'batched';
  export class Service {
    ballast = new Array(1000).fill(0);
    @dynamically({ batchSize: 4 })
    scale(items: number[]) { return items.map((item) => 2 * item + this.ballast[0]); }
    @aio.dynamically({ timeoutMs: 600_000, batchSize: 2 })
    async held(items: number[]) { await null; return items.map((item) => item + this.ballast[0]); }
    @aio.dynamically
    stuck(items: number[]) { this.ballast; return new Promise(() => {}); }
  }
  export class Heir extends Service {
    @dynamically
    scale(items: number[]) { return super.scale(items); }
  }
`);
const Members =
  dialect === 'legacy'
    ? undefined
    : compile(`
    import { batchedOf, dynamically } from 'batched';
    export class Members {
      @dynamically field = (items: number[]) => items.map(() => this);
      @dynamically accessor other = (items: number[]) => items.map(() => this);
      @dynamically #secret(items: number[]) { return items.map(() => this); }
      secret() { return batchedOf(this.#secret, this); }
    }
  `).Members;

let registered = 0;
let collected = 0;
const registry = new FinalizationRegistry(() => collected++);
function watched(value) {
  registry.register(value);
  registered++;
  return value;
}

/** Collects garbage until all that was registered is gone; the program's hang deadline ends it if something stays. */
async function gone() {
  while (collected < registered) {
    globalThis.gc();
    await turn();
  }
}

// What a scenario returns stays referred to until all else is gone.
const scenarios = {
  unused() {
    watched(new Service());
  },
  'read only'() {
    watched(watched(new Service()).scale);
  },
  async used() {
    const service = watched(new Service());
    watched(service.scale)([1, 2, 3, 4, 5]);
    await watched(batchedOf(service.scale).acall([1]));
  },
  async 'many in turn'() {
    for (let i = 0; i < 1000; i++) await batchedOf(watched(new Service()).scale).acall(i);
  },
  async 'whose calls were held by a timer'() {
    const { held } = watched(new Service());
    const controller = new AbortController();
    const aborted = held(3, { signal: controller.signal, deadlineMs: 600_000 }).catch(() => {});
    await turn();
    controller.abort();
    await aborted;
    await Promise.all([held(1), held(2)]);
    watched(held);
  },
  async closed() {
    const service = watched(new Service());
    service.scale([1]);
    await batchedOf(service.scale).close();
  },
  async 'with a batch that never settles'() {
    const service = watched(new Service());
    await service.stuck([1], { deadlineMs: 1 }).catch(() => {});
  },
  async 'of a subclass that calls up'() {
    const heir = watched(new Heir());
    heir.scale([1]);
    await batchedOf(heir.scale).acall(1);
  },
  frozen() {
    Object.freeze(watched(new Service())).scale([1]);
  },
  'behind a proxy'() {
    watched(new Proxy(watched(new Service()), {})).scale([1]);
  },
  'while another lives'() {
    const [one, two] = [new Service(), new Service()];
    watched(one).scale([1]);
    two.scale([1]);
    return two;
  },
  'whose statistics live'() {
    const service = watched(new Service());
    service.scale([1]);
    return batchedOf(service.scale).stats;
  },
  async 'with fields, accessors and private methods'() {
    if (Members === undefined) return;
    const members = watched(new Members());
    watched(members.field)([1]);
    await batchedOf(watched(members.other)).acall([1]);
    await watched(members.secret()).acall(1);
  },
};

for (const [scenario, run] of Object.entries(scenarios)) {
  const kept = await run();
  await turn();
  await gone();
  say(`${scenario}: ${kept === undefined ? '' : 'all but what is kept '}collected`);
}

// That all of this means something: what is referred to stays.
const { scale } = watched(new Service());
for (let i = 0; i < 10; i++) {
  globalThis.gc();
  await turn();
}
say(collected < registered ? `${typeof scale} kept: object kept` : 'the kept object was collected');
