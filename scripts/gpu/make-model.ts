/** Makes a model of `bench gpu`, unless it is cached, and prints its path:  make-model.js base|minilm|large cuda|cpu */
import { gpuModel, type ModelName, modelNames } from '../../bench/lib/gpu-models';

async function main(): Promise<void> {
  const [name = '', provider = 'cuda'] = process.argv.slice(2);
  if (!(modelNames as readonly string[]).includes(name)) {
    throw new RangeError(`the model is one of ${modelNames.join(', ')}, not '${name}'`);
  }
  console.log((await gpuModel(name as ModelName, provider)).path);
}

main().catch((error: unknown) => {
  console.error(error);
  process.exitCode = 1;
});
