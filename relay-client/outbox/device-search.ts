/** What people leave out of a MAC, or write in other ways. */
const SEPARATORS = /[:.-]/g;

export function withoutSeparators(device: string): string {
  return device.replaceAll(SEPARATORS, '');
}

/** A search text in the two forms that are looked for: as written, and without separators ('' = not looked for). */
export function searchForms(q: string): { written: string; plain: string } {
  const written = q.toLowerCase();
  return { written, plain: withoutSeparators(written) };
}

/** Tells whether device ids contain `q`, written as it is or without separators. Upper and lower case are the same. */
export function deviceMatcher(q: string): (device: string) => boolean {
  const { written, plain } = searchForms(q);
  return (device) => device.includes(written) || (plain !== '' && withoutSeparators(device).includes(plain));
}

export function deviceMatches(device: string, q: string): boolean {
  return deviceMatcher(q)(device);
}
