import type { Gate } from '../fixtures/gate.ts';
import { deviceOf } from './peer.ts';

/** Lines of one request: what the API takes at most. */
const LINES = 100_000;

/**
 * Pushes to the devices of these numbers by bulk, one request after another.
 *
 * @param campaign - that they belong to; null = none
 * @returns messages a second, from the first byte sent to the last result read
 * @throws Error when one was not held
 */
export async function bulkPush(
  gate: Gate,
  { first, count, step = 1 }: { first: number; count: number; step?: number },
  campaign: string | null = null,
): Promise<number> {
  const began = performance.now();
  for (let done = 0; done < count; done += LINES) {
    const lines = Array.from(
      { length: Math.min(LINES, count - done) },
      (_, i) => `{"device":"${deviceOf(first + (done + i) * step)}"}`,
    );
    const query = campaign === null ? '' : `?campaign=${campaign}`;
    const response = await fetch(`${gate.api}/v1/messages${query}`, {
      method: 'POST',
      headers: { 'content-type': 'application/x-ndjson' },
      body: lines.join('\n'),
    }).catch((cause: unknown) => {
      const last = gate.relay.lines.slice(-3).map((line) => JSON.stringify(line));
      throw new Error(`the relay answered no bulk push; its last lines: ${last.join(' ')}`, { cause });
    });
    const text = await response.text();
    const held = text.split('"status":201').length - 1;
    if (response.status !== 200 || held !== lines.length) {
      throw new Error(`of ${lines.length} messages pushed by bulk ${held} are held: ${text.slice(-300)}`);
    }
  }
  return (count * 1000) / (performance.now() - began);
}
