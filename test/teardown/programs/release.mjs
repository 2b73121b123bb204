// Models that are released give their memory back, garbage collector or not:  node release.mjs <scenario> <big model>
import { inference, OnnxModel } from '../../../dist/index.mjs';

const [scenario, path] = process.argv.slice(2);
const say = (text) => process.stdout.write(`${text}\n`);
const input = { ids: [[1, 2, 3]] };
const MiB = () => process.memoryUsage.rss() / 2 ** 20;
const refused = (make) => {
  try {
    make();
  } catch (error) {
    say(error.code);
  }
};

/** Prints how much memory `load` took and how much of it is back after `release`, in MiB. */
async function measured(load, release) {
  const before = MiB();
  const loaded = await load();
  const there = MiB();
  await release(loaded);
  say(JSON.stringify({ took: there - before, back: there - MiB() }));
}

const scenarios = {
  async 'inference.load, closed'() {
    await measured(
      () => inference.load(path),
      async (embed) => {
        await embed.acall(input);
        await embed.close();
      },
    );
  },
  async 'closed without draining, twice'() {
    await measured(
      () => inference.load(path),
      async (embed) => {
        const call = embed.acall(input).catch(() => {});
        await Promise.all([embed.close({ drain: false }), embed.close({ drain: false }), call]);
      },
    );
  },
  async 'OnnxModel, released when its callable is closed'() {
    await measured(
      () => OnnxModel.load(path),
      async (model) => {
        const embed = inference.dynamically(model);
        await embed.acall(input);
        await embed.close();
        await model.release();
      },
    );
  },
  async 'OnnxModel, released before its callable is closed'() {
    await measured(
      () => OnnxModel.load(path),
      async (model) => {
        const embed = inference.dynamically(model);
        await Promise.all([model.release(), model.release()]);
        await embed.acall(input);
        refused(() => inference.dynamically(model));
        await embed.close();
      },
    );
  },
  async 'two callables, the one that loaded it closed first'() {
    await measured(
      () => inference.load(path),
      async (first) => {
        const second = inference.dynamically(first.model);
        await first.close();
        await second.acall(input);
        refused(() => inference.dynamically(first.model));
        await second.close();
      },
    );
  },
  async 'process.exit while it is released'() {
    const model = await OnnxModel.load(path);
    void model.release().then(() => say('released'));
    process.exit(0);
  },
  async 'the process ends while it is released'() {
    const model = await OnnxModel.load(path);
    void model.release().then(() => say('released'));
  },
};

await scenarios[scenario]();
