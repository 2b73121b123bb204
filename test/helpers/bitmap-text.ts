/** Pictures of words, for models that read: black on white, in a font of 5 x 7 dots. */
import { floats } from './model-calls';
import type { Tensor } from '../../ts';

/** Rows from the top, each its dots as digits of a binary number. */
const FONT: Readonly<Record<string, readonly number[]>> = {
  A: [0b01110, 0b10001, 0b10001, 0b11111, 0b10001, 0b10001, 0b10001],
  B: [0b11110, 0b10001, 0b10001, 0b11110, 0b10001, 0b10001, 0b11110],
  C: [0b01110, 0b10001, 0b10000, 0b10000, 0b10000, 0b10001, 0b01110],
  E: [0b11111, 0b10000, 0b10000, 0b11110, 0b10000, 0b10000, 0b11111],
  H: [0b10001, 0b10001, 0b10001, 0b11111, 0b10001, 0b10001, 0b10001],
  L: [0b10000, 0b10000, 0b10000, 0b10000, 0b10000, 0b10000, 0b11111],
  N: [0b10001, 0b11001, 0b10101, 0b10101, 0b10101, 0b10011, 0b10001],
  O: [0b01110, 0b10001, 0b10001, 0b10001, 0b10001, 0b10001, 0b01110],
  R: [0b11110, 0b10001, 0b10001, 0b11110, 0b10100, 0b10010, 0b10001],
  S: [0b01111, 0b10000, 0b10000, 0b01110, 0b00001, 0b00001, 0b11110],
  T: [0b11111, 0b00100, 0b00100, 0b00100, 0b00100, 0b00100, 0b00100],
  U: [0b10001, 0b10001, 0b10001, 0b10001, 0b10001, 0b10001, 0b01110],
};

const HEIGHT = 48;
const DOT = 5;
const MARGIN = 8;

/** A word as [1, 3, 48, width], 1 for white and -1 for black; its width is what its letters need. */
export function picture(word: string): Tensor {
  const width = 2 * MARGIN + (6 * word.length - 1) * DOT;
  const plane = new Float32Array(HEIGHT * width).fill(1);
  const top = Math.floor((HEIGHT - 7 * DOT) / 2);
  for (let y = 0; y < 7 * DOT; y++) {
    for (let x = 0; x < (6 * word.length - 1) * DOT; x++) {
      const [column, row] = [Math.floor(x / DOT), Math.floor(y / DOT)];
      const dots = FONT[word[Math.floor(column / 6)]!]![row]!;
      if ((dots >> (4 - (column % 6))) & 1) plane[(top + y) * width + MARGIN + x] = -1;
    }
  }
  return floats([1, 3, HEIGHT, width], [...plane, ...plane, ...plane]);
}

/** A picture [1, 3, 48, any] cut or filled up with grey to `width`, upside down if asked. */
export function fitted(image: Tensor, width: number, upsideDown = false): Tensor {
  const own = image.dims[3]!;
  const fit = new Float32Array(3 * HEIGHT * width);
  for (let y = 0; y < 3 * HEIGHT; y++) {
    for (let x = 0; x < Math.min(own, width); x++) {
      const from = upsideDown ? (y - (y % HEIGHT) + HEIGHT - 1 - (y % HEIGHT)) * own + own - 1 - x : y * own + x;
      fit[y * width + x] = image.data[from] as number;
    }
  }
  return floats([1, 3, HEIGHT, width], fit);
}
