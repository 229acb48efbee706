import { createServer } from 'node:http';
import type { IncomingMessage } from 'node:http';
import type { Address } from '../shared/address.ts';
import { describeError } from '../shared/errors.ts';
import { listen } from '../shared/listen.ts';
import type { Sharing } from '../shared/listen.ts';
import type { Log } from '../shared/log.ts';
import type { SiteStatus } from './site-status.ts';

export interface OpsParts {
  sharing?: Sharing;
  sites: () => SiteStatus[];
  /** What will be wrong before long, in sentences. */
  warnings: () => string[];
  /** Whether this proxy is going away. */
  draining: () => boolean;
  /** For `/status`: what there is to tell beside the sites. */
  status: () => Record<string, unknown>;
  metrics: () => Promise<string>;
  log: Log;
}

/** The operators' listener on loopback: health, readiness, metrics, status. Read-only. */
export interface Ops {
  readonly address: Address;
  close(): Promise<void>;
}

export async function createOps(address: Address, parts: OpsParts): Promise<Ops> {
  const server = createServer({ maxHeaderSize: 8_192, requestTimeout: 10_000 }, (request, response) => {
    void answer(request, parts)
      .catch((error: unknown): Answer => {
        parts.log.error('ops request failed', { path: request.url, why: describeError(error) });
        return asJson(500, { message: 'this failed; the log says why' });
      })
      .then(({ status, type, text }) => {
        response.writeHead(status, {
          'content-type': type,
          'content-length': Buffer.byteLength(text),
          ...(status === 405 ? { allow: 'GET, HEAD' } : {}),
        });
        response.end(request.method === 'HEAD' ? undefined : text);
      });
  });
  const bound = await listen(server, address, 'The ops listener', parts.sharing);
  server.on('error', (error) => parts.log.error('ops listener failed', { why: describeError(error) }));
  return {
    address: bound,
    async close() {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      server.closeAllConnections();
      await closed;
    },
  };
}

interface Answer {
  status: number;
  type: string;
  text: string;
}

async function answer(request: IncomingMessage, parts: OpsParts): Promise<Answer> {
  if (request.method !== 'GET' && request.method !== 'HEAD') {
    return asJson(405, { message: 'only GET and HEAD' });
  }
  const url = URL.parse(request.url ?? '/', 'http://ops');
  switch (url?.pathname) {
    case '/healthz':
      return asJson(200, { status: 'ok' });
    case '/readyz':
      return readiness(url.searchParams.get('site'), parts);
    case '/status':
      return asJson(200, { ...parts.status(), sites: parts.sites() });
    case '/metrics':
      return { status: 200, type: 'text/plain; version=0.0.4; charset=utf-8', text: await parts.metrics() };
    default:
      return asJson(404, { message: 'try /healthz, /readyz, /status or /metrics' });
  }
}

/** @param wanted - one site's name; null = all sites */
function readiness(wanted: string | null, parts: OpsParts): Answer {
  const sites = parts.sites().filter(({ name }) => wanted === null || name === wanted);
  if (sites.length === 0) return asJson(404, { message: `there is no site ${wanted}` });
  // Readiness is about the link; what is behind it is the relay's to say, and in /status.
  const reasons = sites.flatMap((site) => (site.linked ? [] : site.reasons));
  if (parts.draining()) reasons.push('this proxy is going away');
  const ready = reasons.length === 0;
  return asJson(ready ? 200 : 503, { ready, reasons, warnings: parts.warnings() });
}

function asJson(status: number, value: unknown): Answer {
  return { status, type: 'application/json', text: `${JSON.stringify(value, null, 2)}\n` };
}
