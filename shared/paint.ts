/** Colours of a terminal's text. */
export type Colour = 'green' | 'yellow' | 'red' | 'dim';

/** SGR codes (ECMA-48 §8.3.117). */
const CODES: Record<Colour, number> = { green: 32, yellow: 33, red: 31, dim: 2 };

/** Paints a text, or leaves it as it is. */
export type Paint = (colour: Colour, text: string) => string;

/**
 * Colours only where a person reads at a terminal and has not asked for none: `NO_COLOR` set to anything, as
 * https://no-color.org has it, or a terminal that says that it is `dumb`.
 */
export function createPaint(terminal: boolean, env: Readonly<Record<string, string | undefined>>): Paint {
  const plain = !terminal || (env['NO_COLOR'] ?? '') !== '' || env['TERM'] === 'dumb';
  return plain ? (_colour, text) => text : (colour, text) => `\x1b[${CODES[colour]}m${text}\x1b[0m`;
}
