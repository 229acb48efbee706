/** One request as the reference reads it. */
export interface ReferenceRequest {
  method: string;
  target: string;
  host: string;
  body: string;
}

/**
 * Reads all requests in `text` (Latin-1) by the letter of RFC 9112, and no more than is unambiguous: written for the
 * tests, and sharing nothing with what it is held against.
 *
 * @param cut - the last request may have been cut off before its end; it is left out then
 * @returns null where anything about it is not plain
 */
export function readRequests(text: string, cut = false): ReferenceRequest[] | null {
  const missing = (requests: ReferenceRequest[]): ReferenceRequest[] | null => (cut ? requests : null);
  const requests: ReferenceRequest[] = [];
  let rest = text;
  for (;;) {
    // Empty lines before a request line are passed over (§2.2); llhttp does so with lone CRs and LFs, too.
    rest = rest.replace(/^[\r\n]+/, '');
    if (rest === '') return requests;
    const end = rest.indexOf('\r\n\r\n');
    if (end === -1) return missing(requests);
    const [line = '', ...fields] = rest.slice(0, end).split('\r\n');
    // More than one space between the parts is taken, since it can be read in one way only.
    const [, method = '', target = ''] = /^([A-Z]+) +(\/[\x21-\x7e]*) +HTTP\/1\.[01]$/.exec(line) ?? [];
    if (method === '') return null;
    const values = new Map<string, string[]>();
    for (const field of fields) {
      const [, name, value = ''] =
        /^([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\0-\x08\x0a-\x1f\x7f]*?)[ \t]*$/.exec(field) ?? [];
      if (name === undefined) return null;
      const key = name.toLowerCase();
      values.set(key, [...(values.get(key) ?? []), value]);
    }
    const hosts = values.get('host') ?? [];
    const lengths = values.get('content-length') ?? [];
    const codings = values.get('transfer-encoding') ?? [];
    if (hosts.length > 1 || lengths.length > 1 || codings.length > 1) return null;
    if (lengths.length + codings.length > 1) return null;
    rest = rest.slice(end + 4);
    let body = '';
    if (codings.length === 1) {
      if (codings[0]?.toLowerCase() !== 'chunked') return null;
      const read = readChunks(rest);
      if (read === 'cut') return missing(requests);
      if (read === null) return null;
      body = read.body;
      rest = read.rest;
    } else if (lengths.length === 1) {
      if (!/^\d{1,9}$/.test(lengths[0] ?? '')) return null;
      const length = Number(lengths[0]);
      if (rest.length < length) return missing(requests);
      body = rest.slice(0, length);
      rest = rest.slice(length);
    }
    requests.push({ method, target, host: hosts[0] ?? '', body });
  }
}

function readChunks(text: string): { body: string; rest: string } | 'cut' | null {
  let body = '';
  let rest = text;
  for (;;) {
    const [head = '', size = ''] =
      /^([0-9A-Fa-f]{1,8})(?:[ \t]*;[^\0-\x08\x0a-\x1f\x7f]*)?\r\n/.exec(rest) ?? [];
    if (head === '') return rest.includes('\r\n') ? null : 'cut';
    rest = rest.slice(head.length);
    const length = parseInt(size, 16);
    if (length === 0) {
      const [trailer] = /^(?:[^\r\n]+\r\n)*\r\n/.exec(rest) ?? [];
      return trailer === undefined ? 'cut' : { body, rest: rest.slice(trailer.length) };
    }
    if (rest.length < length + 2) return 'cut';
    if (rest.slice(length, length + 2) !== '\r\n') return null;
    body += rest.slice(0, length);
    rest = rest.slice(length + 2);
  }
}
