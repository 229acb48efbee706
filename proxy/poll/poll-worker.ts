import { parentPort, workerData } from 'node:worker_threads';
import { systemClock } from '../../shared/clock.ts';
import { describeError } from '../../shared/errors.ts';
import type { Log, LogFields } from '../../shared/log.ts';
import { openMarks } from '../marks-reader.ts';
import { Connections } from './connections.ts';
import { openCounters } from './counters.ts';
import { createPollHandler, type PollHandler } from './poll-handler.ts';
import { createPollListener, isApart } from './poll-listener.ts';
import { createPollSecrets } from './poll-secrets.ts';
import { findRawTcp } from './raw-tcp.ts';
import { createRoutes, sitesAt } from './routes.ts';
import { createUnknownReports } from './unknown-reports.ts';
import type { FromPollWorker, PollWorkerData, ToPollWorker } from './worker-messages.ts';

/** How often waiting connections are looked at and unknown devices reported. */
const SWEEP_MS = 1_000;

if (parentPort === null) throw new Error('poll-worker runs as a worker thread of the poll door only');
const port = parentPort;
const data = workerData as PollWorkerData;
const tell = (message: FromPollWorker): void => port.postMessage(message);

const marks = openMarks(data.marks);
const counters = openCounters(data.counters);
// `performance.now` is the cheapest clock there is; its distance to the clock of the marks never changes.
const offset = systemClock.monotonic() - performance.now();
const now = (): number => performance.now() + offset;
const { limits } = data;
const unknown = createUnknownReports(data.siteNames, limits.unknownReports);
const connections = new Connections(limits, counters, now, data.quotas);
const secrets = createPollSecrets();
for (const [site, told] of data.secrets.entries()) if (told !== null) secrets.set(site, told);
/** One for all doors at which the path decides, and one for each site that has doors of its own. */
const handlers = new Map<number | null, PollHandler>();
function handlerFor(site: number | null): PollHandler {
  const routes = createRoutes(sitesAt(data.sites, site));
  const handler =
    handlers.get(site) ??
    createPollHandler({ connections, marks, routes, secrets, limits, counters, unknown, now });
  handlers.set(site, handler);
  return handler;
}
const found = data.rawTcp ? findRawTcp() : 'not wanted';
const rawTcp = typeof found === 'string' ? null : found;
const log = logTo({});
const listeners = data.listeners.map((config) =>
  isApart(config) && !data.first
    ? null
    : createPollListener(config, {
        connections,
        handler: handlerFor(config.site),
        limits,
        now,
        ticketKeys: data.ticketKeys,
        rawTcp,
        reusePort: data.reusePort,
        log,
      }),
);

function logTo(more: LogFields): Log {
  const at =
    (level: 'debug' | 'info' | 'warn' | 'error') =>
    (msg: string, fields: LogFields = {}): void =>
      tell({ type: 'log', level, msg, fields: { ...more, ...fields } });
  const child = (fields: LogFields): Log => logTo({ ...more, ...fields });
  return { debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error'), child };
}

const sweeper = systemClock.every(SWEEP_MS, () => {
  marks.refresh();
  connections.sweep();
  for (const listener of listeners) listener?.sweep();
  const seen = unknown.take();
  if (seen.length === 0) return;
  counters.add('unknown_reports', seen.length);
  tell({ type: 'unknown', seen });
});

port.on('message', (message: ToPollWorker) => {
  switch (message.type) {
    case 'certificates':
      message.certificates.forEach((certificate, i) => {
        if (certificate !== null) listeners[i]?.setCertificate(certificate, message.ticketKeys);
      });
      return;
    case 'secrets':
      secrets.set(message.site, message.secrets);
      return;
    case 'close':
      sweeper.cancel();
      for (const listener of listeners) listener?.close();
      for (const handler of handlers.values()) handler.drain();
      // With its listeners and connections gone nothing keeps this thread alive; what lingers is ended by main.
      port.close();
      return;
    default:
      message satisfies never;
  }
});

const ports: number[] = [];
for (const [i, listener] of listeners.entries()) {
  try {
    ports.push((await listener?.listen()) ?? 0);
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? String(error.code) : '';
    tell({ type: 'failed', listener: i, code, message: describeError(error) });
    break;
  }
}
if (ports.length === listeners.length) {
  tell({ type: 'listening', ports, slow: typeof found === 'string' ? found : null });
}
