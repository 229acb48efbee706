import { SallyportError } from '../../shared/errors.ts';

const UNITS: Record<string, number> = {
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
  w: 604_800_000,
};

/**
 * Reads a length of time as people write it: `90s`, `10m`, `1h30m`, `7d`; a bare number is seconds.
 *
 * @returns milliseconds
 * @throws SallyportError `REQUEST_INVALID`
 */
export function parseDuration(text: string): number {
  if (/^\d+(\.\d+)?$/.test(text)) return Number(text) * 1000;
  const parts = [...text.matchAll(/(\d+(?:\.\d+)?)(ms|s|m|h|d|w)/g)];
  if (parts.length === 0 || parts.map(([whole]) => whole).join('') !== text) {
    throw new SallyportError(
      'REQUEST_INVALID',
      `${JSON.stringify(text)} is no length of time; write 90s, 10m, 1h30m, 7d`,
    );
  }
  return parts.reduce((sum, [, number, unit]) => sum + Number(number) * (UNITS[unit ?? ''] ?? 0), 0);
}
