import { request } from 'node:http';
import { formatAddress } from '../../shared/address.ts';
import type { Address } from '../../shared/address.ts';
import type { Milliseconds } from '../../shared/clock.ts';
import { describeError } from '../../shared/errors.ts';

/** On loopback, from a process that only has to look into its memory. */
const ANSWER_MS: Milliseconds = 5_000;

/** What the proxy that runs by this config says of itself. */
export interface RunningProxy {
  pid: number;
  /** `host:port` of everything that it listens on. */
  addresses: readonly string[];
  ready: boolean;
  reasons: readonly string[];
  warnings: readonly string[];
  /** How many files it may open; null = it does not say. */
  descriptors: number | null;
}

/** Who answers at the ops address: the running proxy, a stranger with the reason why it is one, or nobody. */
export type OpsSeen = RunningProxy | { stranger: string } | null;

/** Asks whoever answers at the ops address. */
export async function askRunning(ops: Address): Promise<OpsSeen> {
  const base = `http://${formatAddress(ops)}`;
  try {
    const status = JSON.parse(await get(`${base}/status`)) as Record<string, unknown>;
    const { ready, reasons, warnings } = JSON.parse(await get(`${base}/readyz`)) as RunningProxy;
    const [, most] = /^sallyport_proxy_process_max_fds (\d+)/m.exec(await get(`${base}/metrics`)) ?? [];
    const { pid, addresses } = status;
    if (typeof pid !== 'number' || !Array.isArray(addresses))
      return { stranger: 'it is no proxy of this version' };
    return {
      pid,
      addresses: addresses as string[],
      ready,
      reasons,
      warnings,
      descriptors: most === undefined ? null : Number(most),
    };
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ECONNREFUSED') return null;
    return { stranger: describeError(error) };
  }
}

function get(url: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const asked = request(url, { timeout: ANSWER_MS, agent: false }, (response) => {
      let text = '';
      response.setEncoding('utf8');
      response.on('data', (chunk: string) => (text += chunk));
      response.on('end', () => resolve(text));
      response.on('error', reject);
    });
    asked.on('timeout', () => asked.destroy(new Error(`no answer within ${ANSWER_MS} ms`)));
    asked.on('error', reject);
    asked.end();
  });
}

export const isProxy = (seen: OpsSeen): seen is RunningProxy => seen !== null && 'pid' in seen;
