import { randomFillSync } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { Worker, type WorkerOptions } from 'node:worker_threads';
import { formatAddress, listenError, type Address } from '../../shared/address.ts';
import { checkPair, endOfChain, type CertificateUse } from '../../shared/certificates.ts';
import type { Clock, Milliseconds, Timer } from '../../shared/clock.ts';
import { ERROR_CODES, SallyportError, describeError } from '../../shared/errors.ts';
import { ensureFree, type Sharing } from '../../shared/listen.ts';
import type { Log } from '../../shared/log.ts';
import type { TlsProfile } from '../../shared/tls-profile.ts';
import { workerUrl } from '../../shared/worker-url.ts';
import type { Marks, MarksAttachment } from '../marks.ts';
import type { UnknownDevice } from '../unknown-devices.ts';
import { counterBytes, forgetConnections, sumCounters, sumSite } from './counters.ts';
import type { PollStats, SiteStats } from './counters.ts';
import { DEFAULT_POLL_LIMITS, type PollLimits } from './limits.ts';
import type { PollListenerConfig } from './poll-listener.ts';
import { createRoutes, sitesAt, type PollSite } from './routes.ts';
import type { Certificate, ListenerTls } from './tls-front.ts';
import type { FromPollWorker, PollWorkerData, ToPollWorker } from './worker-messages.ts';

/** One address where phones poll. */
export interface PollListen {
  listen: Address;
  /** The one site whose phones poll here; null or left out = the path decides. */
  site?: string | null;
  /** Networks that may poll. */
  allow: readonly string[];
  /** Take connections from a balancer only, each beginning with a PROXY v2 header; `allow` is about what it tells. */
  proxyProtocol: boolean;
  /** With `proxyProtocol`: the balancers' networks; left out = anybody's. */
  proxyProtocolFrom?: readonly string[];
  /** PEM files; null = plain HTTP. Profile `legacy` ends TLS in a process of its own, as `runAs` (default: as who we are). */
  tls: {
    cert: string;
    key: string;
    profile: TlsProfile;
    runAs?: { uid: number; gid: number } | null;
  } | null;
}

export interface PollDoorConfig {
  listeners: readonly PollListen[];
  /**
   * Sites by name, all of them known to the marks. `pollPrefixes: null` = any prefix; `pollSecret: 'path'` = devices poll by
   * a secret in their path, default `none`; `pollConnections`: most connections at each worker, default any number.
   */
  sites: readonly {
    name: string;
    pollPrefixes: readonly string[] | null;
    pollSecret?: 'none' | 'path';
    pollConnections?: number;
  }[];
  /** Threads; null = one less than the machine's cores, from 1 to {@link AUTO_WORKERS_MAX}. */
  workers: number | null;
  /** Default `alone`. */
  sharing?: Sharing;
  limits?: Partial<PollLimits>;
  /** Whether plain polls may go past Node's streams where that is possible, which is faster; default true. */
  rawTcp?: boolean;
}

export interface PollDoorParts {
  marks: Marks;
  log: Log;
  clock: Clock;
  /** Told of polls without a mark; see `createUnknownDevices`. */
  onUnknown?: (device: UnknownDevice) => void;
  /** Starts a worker thread; for tests that look over its shoulder. */
  startWorker?: (url: URL, options: WorkerOptions) => Worker;
}

/** The door where phones poll. */
export interface PollDoor {
  /** Where it listens, in the order of the config, with the real ports. */
  readonly addresses: readonly Address[];
  stats(): PollStats;
  /** Of one site. */
  siteStats(site: string): SiteStats;
  /** The certificates that it shows now. */
  certificates(): CertificateUse[];
  /**
   * Reads all certificates and keys again, for the connections to come.
   *
   * @throws SallyportError `FILE_UNREADABLE`, `KEY_INVALID`; then all stays as it was
   */
  reload(): void;
  /** From now on the devices of a site poll by these secrets of it, each 32 bytes in base64; before, all its polls are 200. */
  setSecrets(site: string, told: readonly string[]): void;
  /** Stops listening, answers what is on its way, closes everything. */
  close(): Promise<void>;
}

/** How many poll workers there are where the config says so many; null = `auto`. */
export function pollWorkers(workers: number | null): number {
  return workers ?? Math.min(Math.max(availableParallelism() - 1, 1), AUTO_WORKERS_MAX);
}

/** The most poll workers that are started unasked: one of them answers more polls than most fleets send. */
export const AUTO_WORKERS_MAX = 8;
/** How long connections get at `close()` to have their answers. */
const CLOSE_GRACE_MS: Milliseconds = 2_000;
/** A worker that dies is replaced at once, unless it ran for less than this; then after as long. */
const RESTART_MS: Milliseconds = 1_000;
/** How long one set of TLS ticket keys is used; afterwards phones make one full handshake. */
const TICKET_KEYS_MS: Milliseconds = 12 * 3_600_000;

interface Thread {
  worker: Worker;
  attachment: MarksAttachment;
  exited: Promise<void>;
}

/**
 * Opens the poll door; resolves once every worker listens.
 *
 * @throws SallyportError `ADDRESS_IN_USE`, `ADDRESS_INVALID`, `FILE_UNREADABLE`, `KEY_INVALID`, `CONFIG_INVALID`
 */
export async function createPollDoor(config: PollDoorConfig, parts: PollDoorParts): Promise<PollDoor> {
  const { marks, log, clock } = parts;
  const { sharing = 'alone' } = config;
  const limits: PollLimits = { ...DEFAULT_POLL_LIMITS, ...config.limits };
  const count = pollWorkers(config.workers);
  const sites = config.sites.map((site): PollSite => {
    const number = marks.sites.indexOf(site.name);
    if (number === -1)
      throw new SallyportError('CONFIG_INVALID', `Site ${site.name} of the poll door has no marks`);
    const apart = config.sites.length > 1 && config.listeners.some((listener) => listener.site === site.name);
    return { number, prefixes: site.pollPrefixes, apart, secret: site.pollSecret === 'path' };
  });
  createRoutes(sitesAt(sites, null));
  const siteNumber = (name: string | null): number | null => {
    const number = name === null ? null : marks.sites.indexOf(name);
    if (number !== -1) return number;
    throw new SallyportError('CONFIG_INVALID', `A poll door is for site ${name}, which there is not`);
  };
  let listeners: PollListenerConfig[] = config.listeners.map((listener) => ({
    ...listener,
    site: siteNumber(listener.site ?? null),
    tls: listener.tls === null ? null : listenerTls(listener.tls),
  }));
  const counters = Array.from({ length: count }, () => new SharedArrayBuffer(counterBytes(sites.length)));
  const quotas = marks.sites.map(
    (name) => config.sites.find((site) => site.name === name)?.pollConnections ?? Infinity,
  );
  const threads: (Thread | null)[] = counters.map(() => null);
  const secrets: PollWorkerData['secrets'] = marks.sites.map(() => null);
  const restarts = new Set<Timer>();
  let ticketKeys = newTicketKeys();
  let replaced = 0;
  let closing = false;

  function start(index: number): Promise<number[]> {
    const attachment = marks.attach();
    const workerData: PollWorkerData = {
      listeners,
      sites,
      siteNames: [...marks.sites],
      secrets,
      limits,
      quotas,
      marks: attachment.seed,
      counters: counters[index]!,
      ticketKeys,
      reusePort: count > 1 || process.platform === 'linux',
      rawTcp: config.rawTcp ?? true,
      first: index === 0,
    };
    const options: WorkerOptions = {
      workerData,
      transferList: attachment.transfer,
      name: `poll-${index + 1}`,
    };
    const startWorker = parts.startWorker ?? ((url, given) => new Worker(url, given));
    const worker = startWorker(workerUrl(import.meta.url, './poll-worker'), options);
    const startedAt = clock.monotonic();
    return new Promise((resolve, reject) => {
      const exited = new Promise<void>((ended) => {
        worker.once('exit', (code) => {
          attachment.detach();
          threads[index] = null;
          forgetConnections(counters[index]!);
          ended();
          const error = new SallyportError('CLOSED', `Poll worker ${index + 1} ended with code ${code}`);
          reject(error);
          if (listening && !closing) replace(index, clock.monotonic() - startedAt);
        });
      });
      threads[index] = { worker, attachment, exited };
      let listening = false;
      worker.on('error', (error) => {
        log.error('poll worker failed', { worker: index + 1, error: describeError(error) });
        reject(
          new SallyportError('CLOSED', `Poll worker ${index + 1} failed: ${describeError(error)}`, {
            cause: error,
          }),
        );
      });
      worker.on('message', (message: FromPollWorker) => {
        switch (message.type) {
          case 'listening':
            listening = true;
            if (message.slow !== null && config.rawTcp !== false) {
              log.warn('plain polls go through streams, which is slower', {
                worker: index + 1,
                why: message.slow,
              });
            }
            resolve(message.ports);
            return;
          case 'failed':
            reject(openError(listeners[message.listener]!.listen, message));
            void worker.terminate();
            return;
          case 'log':
            log[message.level](message.msg, { worker: index + 1, ...message.fields });
            return;
          case 'unknown':
            if (parts.onUnknown !== undefined) message.seen.forEach(parts.onUnknown);
            return;
          default:
            message satisfies never;
        }
      });
    });
  }

  function replace(index: number, ranForMs: Milliseconds): void {
    replaced++;
    const delay = ranForMs < RESTART_MS ? RESTART_MS : 0;
    log.error('poll worker died and is replaced', {
      worker: index + 1,
      ran_ms: Math.round(ranForMs),
      delay_ms: delay,
    });
    const timer = clock.after(delay, () => {
      restarts.delete(timer);
      start(index).catch((error: unknown) => {
        if (closing) return;
        log.error('poll worker could not be started', { worker: index + 1, error: describeError(error) });
        replace(index, 0);
      });
    });
    restarts.add(timer);
  }

  function broadcast(message: ToPollWorker): void {
    for (const thread of threads) thread?.worker.postMessage(message);
  }

  function useCertificates(): void {
    broadcast({ type: 'certificates', certificates: listeners.map((listener) => listener.tls), ticketKeys });
  }

  async function close(): Promise<void> {
    closing = true;
    rotation.cancel();
    for (const timer of restarts) timer.cancel();
    broadcast({ type: 'close' });
    await Promise.all(
      threads.map(async (thread) => {
        if (thread === null) return;
        const timer = clock.after(CLOSE_GRACE_MS, () => void thread.worker.terminate());
        await thread.exited;
        timer.cancel();
      }),
    );
  }

  const rotation = clock.every(TICKET_KEYS_MS, () => {
    ticketKeys = newTicketKeys();
    useCertificates();
  });

  try {
    if (sharing === 'alone') for (const { listen } of listeners) await ensureFree(listen, 'The poll door');
    const ports = await start(0);
    listeners = listeners.map((listener, i) => ({
      ...listener,
      listen: { host: listener.listen.host, port: ports[i] ?? 0 },
    }));
    await Promise.all(threads.slice(1).map((_, i) => start(i + 1)));
  } catch (error) {
    await close();
    throw error;
  }

  return {
    addresses: listeners.map((listener) => listener.listen),
    stats: () =>
      sumCounters(counters, { running: threads.filter((thread) => thread !== null).length, replaced }),
    siteStats: (site) => sumSite(counters, marks.sites.indexOf(site)),
    certificates: () =>
      listeners.flatMap(({ listen, tls }) =>
        tls === null ? [] : [{ name: `poll ${formatAddress(listen)}`, notAfter: endOfChain(tls.cert) }],
      ),
    reload() {
      const read = config.listeners.map((listener) =>
        listener.tls === null ? null : readCertificate(listener.tls),
      );
      listeners = listeners.map((listener, i) => {
        const certificate = read[i];
        return listener.tls === null || certificate == null
          ? listener
          : { ...listener, tls: { ...listener.tls, ...certificate } };
      });
      useCertificates();
    },
    setSecrets(site, told) {
      const number = marks.sites.indexOf(site);
      // Kept for workers that take the place of others.
      secrets[number] = told;
      broadcast({ type: 'secrets', site: number, secrets: told });
    },
    close,
  };
}

function newTicketKeys(): Uint8Array {
  return randomFillSync(new Uint8Array(48));
}

/** Why a worker could not open a listener: an error of ours, or one of the system. */
function openError(address: Address, failure: { code: string; message: string }): SallyportError {
  const own = ERROR_CODES.find((code) => code === failure.code);
  return own === undefined
    ? listenError('The poll door', address, failure)
    : new SallyportError(own, `The poll door at ${formatAddress(address)} cannot open: ${failure.message}`);
}

function listenerTls(tls: NonNullable<PollListen['tls']>): ListenerTls {
  const { cert, key, profile, runAs = null } = tls;
  return { ...readCertificate(tls), profile, files: { cert, key }, runAs };
}

/** Reads a certificate and its key, and makes sure that they belong together. */
function readCertificate(tls: { cert: string; key: string; profile: TlsProfile }): Certificate {
  const certificate = { cert: readPem(tls.cert), key: readPem(tls.key) };
  try {
    checkPair(certificate.cert, certificate.key, tls.profile);
  } catch (cause) {
    throw new SallyportError(
      'KEY_INVALID',
      `The poll door cannot use ${tls.cert} with ${tls.key} (${describeError(cause)}); give a PEM certificate chain and its unencrypted key`,
      { cause },
    );
  }
  return certificate;
}

function readPem(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (cause) {
    throw new SallyportError(
      'FILE_UNREADABLE',
      `The poll door cannot read ${file} (${describeError(cause)})`,
      { cause },
    );
  }
}
