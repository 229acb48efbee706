import type { Encoding } from './pages.ts';

/** The best encoding that an Accept-Encoding header takes (RFC 9110 §12.5.3); ours, in the order of size. */
export function chooseEncoding(accepted: string | undefined): Encoding {
  const weights = new Map(
    (accepted ?? '').split(',').map((part) => {
      const [name = '', ...parameters] = part.split(';').map((word) => word.trim().toLowerCase());
      const q = parameters.find((word) => word.startsWith('q='))?.slice(2);
      return [name, q === undefined ? 1 : Number(q)] as const;
    }),
  );
  const takes = (name: string): boolean => (weights.get(name) ?? weights.get('*') ?? 0) > 0;
  return takes('br') ? 'br' : takes('gzip') ? 'gzip' : 'identity';
}

/** Whether an If-None-Match header names `tag` (RFC 9110 §13.1.2, the weak comparison). */
export function namesTag(header: string | undefined, tag: string): boolean {
  const listed = (header ?? '').split(',').map((each) => each.trim().replace(/^W\//, ''));
  return listed.includes('*') || listed.includes(tag);
}
