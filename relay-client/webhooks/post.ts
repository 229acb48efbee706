import { readFileSync } from 'node:fs';
import { Agent, request } from 'undici';
import type { Milliseconds } from '../../shared/clock.ts';
import { describeError, SallyportError } from '../../shared/errors.ts';
import type { WebhookConfig, WebhookLimits } from './config.ts';

/** What a webhook's receiver said to one try. */
export interface Answered {
  /** Null = it took the batch; else why not. */
  why: string | null;
  /** How long it asks to be left alone; null where it doesn't say. */
  retryAfter: Milliseconds | null;
}

/** Posts batches to one receiver, over one kept connection. Redirects are not followed: they are failures. */
export interface Poster {
  /** Never rejects: whatever goes wrong is an answer. */
  post(body: string, headers: Record<string, string>, signal: AbortSignal): Promise<Answered>;
  close(): Promise<void>;
}

/** @throws SallyportError FILE_UNREADABLE */
export function createPoster({ url, caFile }: WebhookConfig, limits: WebhookLimits): Poster {
  const agent = new Agent({
    connections: 1,
    pipelining: 1,
    connect: { timeout: limits.answerMs, ...(caFile === null ? {} : { ca: readAuthorities(caFile) }) },
  });
  return {
    async post(body, headers, signal) {
      try {
        const answer = await request(url, {
          method: 'POST',
          dispatcher: agent,
          headers: { 'content-type': 'application/json', ...headers },
          body,
          signal: AbortSignal.any([signal, AbortSignal.timeout(limits.answerMs)]),
        });
        await answer.body.dump({ limit: limits.answerBytes });
        const { statusCode } = answer;
        if (statusCode >= 200 && statusCode < 300) return { why: null, retryAfter: null };
        const asked = Number(answer.headers['retry-after']);
        return { why: `status ${statusCode}`, retryAfter: asked > 0 ? asked * 1000 : null };
      } catch (error) {
        return { why: describeError(error), retryAfter: null };
      }
    },
    close: () => agent.destroy(),
  };
}

function readAuthorities(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (cause) {
    throw new SallyportError('FILE_UNREADABLE', `cannot read ${file}: ${describeError(cause)}`, { cause });
  }
}
