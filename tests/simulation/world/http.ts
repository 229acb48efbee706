/** Just enough of HTTP/1.1 for the phones and the service of a run; shares nothing with the product. */
export interface HttpMessage {
  /** Request line or status line. */
  line: string;
  headers: Map<string, string>;
  body: Buffer;
}

const HEAD_END = Buffer.from('\r\n\r\n');

export interface HttpReader {
  /** Takes bytes; calls back with each whole message in them. */
  take(bytes: Buffer): void;
  /** What there is of the message that is not whole yet; null = nothing. */
  partial(): { line: string; headers: Map<string, string>; body: Buffer } | null;
}

export function createHttpReader(onMessage: (message: HttpMessage) => void): HttpReader {
  let chunks: Buffer[] = [];
  let head: { line: string; headers: Map<string, string>; length: number } | null = null;

  const readHead = (text: string): NonNullable<typeof head> => {
    const [line = '', ...lines] = text.split('\r\n');
    const headers = new Map(
      lines.map((each) => {
        const colon = each.indexOf(':');
        return [each.slice(0, colon).toLowerCase(), each.slice(colon + 1).trim()];
      }),
    );
    return { line, headers, length: Number(headers.get('content-length') ?? 0) };
  };

  const all = (): Buffer => {
    const joined = chunks.length === 1 ? chunks[0]! : Buffer.concat(chunks);
    chunks = joined.length === 0 ? [] : [joined];
    return joined;
  };

  return {
    take(bytes) {
      chunks.push(bytes);
      for (;;) {
        if (head === null) {
          const held = all();
          const end = held.indexOf(HEAD_END);
          if (end < 0) return;
          head = readHead(held.subarray(0, end).toString('latin1'));
          chunks = [held.subarray(end + HEAD_END.length)];
        }
        const size = chunks.reduce((sum, chunk) => sum + chunk.length, 0);
        if (size < head.length) return;
        const held = all();
        const { line, headers, length } = head;
        head = null;
        const rest = held.subarray(length);
        chunks = rest.length === 0 ? [] : [rest];
        onMessage({ line, headers, body: held.subarray(0, length) });
        if (rest.length === 0) return;
      }
    },
    partial: () => (head === null ? null : { line: head.line, headers: head.headers, body: all() }),
  };
}

export function httpText(line: string, headers: Record<string, string>, body: Buffer): Buffer {
  const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`);
  return Buffer.concat([Buffer.from(`${line}\r\n${lines.join('')}\r\n`, 'latin1'), body]);
}

/** The value of an attribute or the content of an element of a WPI document. */
export const attributeOf = (document: string, name: string): string | null =>
  new RegExp(`\\b${name}="([^"]*)"`).exec(document)?.[1] ?? null;
export const contentOf = (document: string, element: string): string | null =>
  new RegExp(`<${element}[^>]*>([^<]*)<`).exec(document)?.[1]?.trim() ?? null;
