/**
 * Sound that a voice detector takes for speech, without a recording: vowels from a pulsing source through three
 * formants, gliding from one to the next a few times a second. The same samples on every machine, near enough.
 */

export const SAMPLE_RATE = 16_000;

/** The first three formants of a few vowels, in Hz. */
const FORMANTS = {
  a: [800, 1150, 2900],
  e: [400, 1600, 2700],
  i: [300, 2300, 3000],
  o: [450, 800, 2830],
  u: [325, 700, 2700],
} as const;
const BANDWIDTHS = [80, 90, 120];
const SYLLABLE_SECONDS = 0.22;
const PEAK = 0.5;

export interface Voice {
  /** Hz. Default 120. */
  readonly pitch?: number;
  /** One per syllable, over and over. Default 'aeiou'. */
  readonly vowels?: string;
}

/** So many seconds of babble at {@link SAMPLE_RATE}, from -0.5 to 0.5. */
export function babble(seconds: number, { pitch = 120, vowels = 'aeiou' }: Voice = {}): Float32Array {
  const samples = new Float32Array(Math.round(seconds * SAMPLE_RATE));
  const formants = BANDWIDTHS.map((bandwidth, i) => new Resonator(FORMANTS.a[i]!, bandwidth));
  let phase = 0;
  let flow = 0;
  for (let n = 0; n < samples.length; n++) {
    const time = n / SAMPLE_RATE;
    const syllable = Math.floor(time / SYLLABLE_SECONDS);
    const vowel = FORMANTS[vowels[syllable % vowels.length] as keyof typeof FORMANTS];
    // Intonation, and the slight tremor that no throat is without.
    const melody = 1 + 0.08 * Math.sin(2 * Math.PI * 0.7 * time) + 0.02 * Math.sin(2 * Math.PI * 5 * time);
    phase = (phase + (pitch * melody) / SAMPLE_RATE) % 1;
    // The glottis is open for 0.6 of a period; what is heard is the change of the flow through it.
    const opening = Math.min(phase / 0.6, 1) % 1;
    const next = opening ** 2 * (3 - 2 * opening);
    const loudness = Math.sin(Math.PI * (time / SYLLABLE_SECONDS - syllable)) ** 0.7;
    let sample = (next - flow) * loudness;
    flow = next;
    formants.forEach((formant, i) => (sample = formant.pass(sample, vowel[i]!)));
    samples[n] = sample;
  }
  const loudest = samples.reduce((most, sample) => Math.max(most, Math.abs(sample)), 0);
  return samples.map((sample) => (sample * PEAK) / loudest);
}

/** A two-pole filter whose frequency follows the one asked for. */
class Resonator {
  #frequency: number;
  readonly #decay: number;
  #last = 0;
  #beforeLast = 0;

  constructor(frequency: number, bandwidth: number) {
    this.#frequency = frequency;
    this.#decay = Math.exp((-Math.PI * bandwidth) / SAMPLE_RATE);
  }

  pass(sample: number, frequency: number): number {
    this.#frequency += (frequency - this.#frequency) * 0.002;
    const b = 2 * this.#decay * Math.cos((2 * Math.PI * this.#frequency) / SAMPLE_RATE);
    const c = -(this.#decay ** 2);
    const out = (1 - b - c) * sample + b * this.#last + c * this.#beforeLast;
    this.#beforeLast = this.#last;
    this.#last = out;
    return out;
  }
}
