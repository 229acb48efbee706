import type { MarksSeed } from '../marks-reader.ts';
import type { UnknownDevice } from '../unknown-devices.ts';
import type { PollLimits } from './limits.ts';
import type { LogFields } from '../../shared/log.ts';
import type { PollListenerConfig } from './poll-listener.ts';
import type { PollSite } from './routes.ts';
import type { Certificate } from './tls-front.ts';

/** What the main thread gives a poll worker at its start. */
export interface PollWorkerData {
  listeners: PollListenerConfig[];
  sites: PollSite[];
  /** Names of the sites by number. */
  siteNames: string[];
  /** Secrets of the sites by number, each 32 bytes in base64; null = none told yet. */
  secrets: (readonly string[] | null)[];
  limits: PollLimits;
  /** Connections that each site may have at this worker, by its number. */
  quotas: readonly number[];
  marks: MarksSeed;
  counters: SharedArrayBuffer;
  ticketKeys: Uint8Array;
  reusePort: boolean;
  /** Whether plain connections may be carried without Node's streams. */
  rawTcp: boolean;
  /** Whether it is the one that listens where TLS ends in a process of its own. */
  first: boolean;
}

/** From the main thread to a poll worker. */
export type ToPollWorker =
  /** Another certificate for each listener with TLS (null for the others), and new ticket keys. */
  | { type: 'certificates'; certificates: (Certificate | null)[]; ticketKeys: Uint8Array }
  /** From now on the devices of a site poll by these secrets of it. */
  | { type: 'secrets'; site: number; secrets: readonly string[] }
  /** Stop listening, answer what is on its way, and end. */
  | { type: 'close' };

/** From a poll worker to the main thread. */
export type FromPollWorker =
  /** All its listeners listen, on these ports in the order of all (0 = not one of its). `slow`: why plain polls go through streams; null = they do not. */
  | { type: 'listening'; ports: number[]; slow: string | null }
  /** A listener could not listen; the worker ends. */
  | { type: 'failed'; listener: number; code: string; message: string }
  /** To be logged. */
  | { type: 'log'; level: 'debug' | 'info' | 'warn' | 'error'; msg: string; fields: LogFields }
  /** Devices without a mark that polled since the last such message, at most `limits.unknownReports`. */
  | { type: 'unknown'; seen: UnknownDevice[] };
