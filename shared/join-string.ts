import { SallyportError } from './errors.ts';
import { parsePin } from './key-pair.ts';
import type { Pin } from './key-pair.ts';

const PREFIX = 'sallyport-join-1.';

/** What a join string holds: where the proxy is, how to know it, and the token that is good for one relay. */
export interface JoinTicket {
  /** `wss://host:port` of the relay door. */
  url: string;
  pin: Pin;
  token: string;
}

/** Writes a ticket as one word, fit for copying. It is a secret for as long as it is good. */
export function writeJoinString(ticket: JoinTicket): string {
  return PREFIX + Buffer.from(JSON.stringify(ticket)).toString('base64url');
}

/** Blanks around it, as copying adds them, do no harm. @throws SallyportError INVITE_INVALID */
export function readJoinString(text: string): JoinTicket {
  const invalid = (): SallyportError =>
    new SallyportError(
      'INVITE_INVALID',
      'this is not a join string; copy the whole last line of sallyport-proxy invite',
    );
  const word = text.trim();
  if (!word.startsWith(PREFIX)) throw invalid();
  let value: unknown;
  try {
    value = JSON.parse(Buffer.from(word.slice(PREFIX.length), 'base64url').toString('utf8'));
  } catch {
    throw invalid();
  }
  const { url, pin, token } = (value ?? {}) as Record<string, unknown>;
  const read = typeof pin === 'string' ? parsePin(pin) : null;
  if (typeof url !== 'string' || URL.parse(url)?.protocol !== 'wss:' || read === null) throw invalid();
  if (typeof token !== 'string') throw invalid();
  return { url, pin: read, token };
}
