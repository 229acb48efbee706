import { macAfter } from '../phones/index.ts';

/** A device of its own for each time that a quirk is played. */
export const deviceNumber = (n: number): string => macAfter('00:1A:E8:71:00:01', n);
