/** Randomness of a run: the same for the same seed (mulberry32). Each part has dice of its own, so that one more throw here moves nothing there. */
export interface Dice {
  /** 0 ≤ x < 1. */
  unit(): number;
  /** A whole number, both ends included. */
  whole(from: number, to: number): number;
  chance(probability: number): boolean;
  pick<T>(choices: readonly T[]): T;
  /** One of the keys, as often as its weight says. */
  weighted<K extends string>(weights: Readonly<Record<K, number>>): K;
  /** A time until the next of events that come at random, `mean` apart. */
  pause(mean: number): number;
  bytes(size: number): Uint8Array;
  /** Further dice, which go their own way from here. */
  split(): Dice;
}

export function createDice(seed: number): Dice {
  // Neighbouring seeds would begin alike.
  let state = Math.imul(seed ^ 0x9e3779b9, 0x85ebca6b) >>> 0;
  const word = (): number => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return (mixed ^ (mixed >>> 14)) >>> 0;
  };
  const unit = (): number => word() / 2 ** 32;
  const whole = (from: number, to: number): number => from + Math.floor(unit() * (to - from + 1));
  return {
    unit,
    whole,
    chance: (probability) => unit() < probability,
    pick(choices) {
      const choice = choices[whole(0, choices.length - 1)];
      if (choice === undefined) throw new Error('nothing to pick from');
      return choice;
    },
    weighted(weights) {
      const entries = Object.entries<number>(weights);
      let left = unit() * entries.reduce((sum, [, weight]) => sum + weight, 0);
      for (const [key, weight] of entries) {
        left -= weight;
        if (left < 0) return key as keyof typeof weights;
      }
      return entries.at(-1)?.[0] as keyof typeof weights;
    },
    pause: (mean) => Math.ceil(-Math.log(1 - unit()) * mean),
    bytes(size) {
      return Uint8Array.from({ length: size }, () => word() & 0xff);
    },
    split: () => createDice(word()),
  };
}
