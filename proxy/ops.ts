import { createServer } from 'node:http';
import type { Address } from '../shared/address.ts';
import type { Clock } from '../shared/clock.ts';
import { describeError } from '../shared/errors.ts';
import { listen } from '../shared/listen.ts';
import type { Log } from '../shared/log.ts';
import type { SiteStatus } from './site.ts';

export interface OpsParts {
  sites: () => SiteStatus[];
  /** Whether this proxy is going away. */
  draining: () => boolean;
  /** For `/status`: what there is to tell beside the sites. */
  status: () => Record<string, unknown>;
  metrics: () => Promise<string>;
  clock: Clock;
  log: Log;
}

/** The operators' listener on loopback: health, readiness, metrics, status. Read-only. */
export interface Ops {
  readonly address: Address;
  close(): Promise<void>;
}

export async function createOps(address: Address, parts: OpsParts): Promise<Ops> {
  const server = createServer({ maxHeaderSize: 8_192, requestTimeout: 10_000 }, (request, response) => {
    const reply = (status: number, type: string, text: string): void => {
      response.writeHead(status, { 'content-type': type, 'content-length': Buffer.byteLength(text) });
      response.end(request.method === 'HEAD' ? undefined : text);
    };
    const json = (status: number, value: unknown): void =>
      reply(status, 'application/json', `${JSON.stringify(value, null, 2)}\n`);
    if (request.method !== 'GET' && request.method !== 'HEAD')
      return json(405, { message: 'only GET and HEAD' });
    const url = URL.parse(request.url ?? '/', 'http://ops');
    switch (url?.pathname) {
      case '/healthz':
        return json(200, { status: 'ok' });
      case '/readyz':
        return ready(url.searchParams.get('site'));
      case '/status':
        return json(200, { ...parts.status(), sites: parts.sites() });
      case '/metrics':
        parts.metrics().then(
          (text) => reply(200, 'text/plain; version=0.0.4; charset=utf-8', text),
          (error: unknown) => {
            parts.log.error('metrics failed', { why: describeError(error) });
            json(500, { message: 'metrics failed; see the log' });
          },
        );
        return;
      default:
        return json(404, { message: 'try /healthz, /readyz, /status or /metrics' });
    }

    function ready(wanted: string | null): void {
      const sites = parts.sites().filter(({ name }) => wanted === null || name === wanted);
      if (sites.length === 0) return json(404, { message: `there is no site ${wanted}` });
      // Readiness is about the link; what is behind it is the relay's to say, and in /status.
      const reasons = sites.flatMap((site) => (site.linked ? [] : site.reasons));
      if (parts.draining()) reasons.push('this proxy is going away');
      json(reasons.length === 0 ? 200 : 503, { ready: reasons.length === 0, reasons });
    }
  });
  const bound = await listen(server, address, 'The ops listener');
  return {
    address: bound,
    async close() {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      server.closeAllConnections();
      await closed;
    },
  };
}
