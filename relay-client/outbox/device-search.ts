/** What people leave out of a MAC, or write in other ways. */
const SEPARATORS = /[:.-]/g;

export function withoutSeparators(device: string): string {
  return device.replaceAll(SEPARATORS, '');
}

/**
 * What is looked for: `text` in ids without separators, or, where a search is of nothing but separators, in ids as they
 * are. What is a part of an id is a part of it without separators, too, so one look is enough.
 */
export function searchNeedle(q: string): { text: string; within: 'plain' | 'device' } {
  const written = q.toLowerCase();
  const plain = withoutSeparators(written);
  return plain === '' ? { text: written, within: 'device' } : { text: plain, within: 'plain' };
}

/** Tells whether device ids contain `q`, written as it is or without separators. Upper and lower case are the same. */
export function deviceMatcher(q: string): (device: string) => boolean {
  const { text, within } = searchNeedle(q);
  if (within === 'device') return (device) => device.includes(text);
  // Most ids that fit have it as it was written, and to take the separators out takes longer than to look.
  const written = q.toLowerCase();
  return (device) => device.includes(written) || withoutSeparators(device).includes(text);
}

export function deviceMatches(device: string, q: string): boolean {
  return deviceMatcher(q)(device);
}
