import type { EventBody } from './shapes/events.ts';
import type { ProxyBody } from './shapes/relay.ts';

/** What a follower of events gets. */
export type DeskEvent =
  | { type: 'hello'; relay: string; version: string; incarnation: string; sequence: number }
  /** Entries were missed: what is followed must be looked at again. */
  | { type: 'reset'; reason: 'ahead' | 'trimmed'; sequence: number }
  | { type: 'history'; entry: EventBody }
  | { type: 'link'; proxy: ProxyBody }
  | { type: 'service'; name: string; up: boolean; why: string | null; since: string }
  | { type: 'session'; device: string | null; phase: 'began' | 'ended'; outcome: string | null }
  /** Something deserves a look; of one kind and device told at most once a minute. `count`: since the last one. */
  | {
      type: 'warning';
      device: string | null;
      what: string;
      sentence: string;
      facts: Record<string, string | number | boolean | null>;
      count: number;
    };

/** Reads server-sent events (WHATWG HTML §9.2.6) as this API sends them; unknown ones are left out. */
export async function* readEventStream(lines: AsyncIterable<string>): AsyncGenerator<DeskEvent> {
  let name = '';
  let data = '';
  for await (const line of lines) {
    if (line === '') {
      const event = data === '' ? null : toEvent(name, JSON.parse(data));
      name = data = '';
      if (event !== null) yield event;
      continue;
    }
    const colon = line.indexOf(':');
    const field = colon === -1 ? line : line.slice(0, colon);
    const value = colon === -1 ? '' : line.slice(colon + 1).replace(/^ /, '');
    if (field === 'event') name = value;
    else if (field === 'data') data += value;
  }
}

function toEvent(name: string, data: unknown): DeskEvent | null {
  const facts = data as never;
  switch (name) {
    case 'hello':
    case 'reset':
    case 'service':
    case 'session':
    case 'warning':
      return { type: name, ...(facts as object) } as DeskEvent;
    case 'link':
      return { type: 'link', proxy: facts };
    case 'accepted':
    case 'redriven':
    case 'deferred':
    case 'note':
    case 'campaign':
    case 'cleared':
    case 'superseded':
    case 'expired':
    case 'cancelled':
    case 'dead':
      return { type: 'history', entry: facts };
    default:
      return null;
  }
}
