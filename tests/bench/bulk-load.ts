/**
 * Downloads that are read slowly and one upload at full speed through a session door, with their upstream, as a process of
 * its own. Says `ready` with the upstream's address; `{"port": N, "slow": N}` begins, `{"port": 0}` ends all and is answered
 * with what was moved.
 */
import { startBulk, startBulkUpstream } from '../fixtures/bulk.ts';
import type { Bulk } from '../fixtures/bulk.ts';
import { serveJobs } from './jobs.ts';

export interface BulkJob {
  /** Of the session door; 0 = end what was begun. */
  port: number;
  slow: number;
  /** How long all buffers on their way have to fill. */
  warmMs: number;
}

export interface BulkDone {
  /** Megabytes a second of the upload, since it began. */
  uploaded: number;
}

const { address } = await startBulkUpstream({ teardown: () => undefined });
let running: Bulk[] = [];
let upload: Bulk | null = null;
let began = 0;

serveJobs<BulkJob, BulkDone>(
  async ({ port, slow, warmMs }) => {
    const uploaded = (upload?.bytes() ?? 0) / 1e3 / (performance.now() - began);
    if (running.some((each) => each.over())) throw new Error('a bulk connection was cut');
    for (const each of running) each.close();
    running = [];
    upload = null;
    if (port === 0) return { uploaded };
    began = performance.now();
    upload = startBulk(port, 'upload');
    running = [upload, ...Array.from({ length: slow }, () => startBulk(port, 'download slowly'))];
    await new Promise((resolve) => setTimeout(resolve, warmMs));
    return { uploaded: 0 };
  },
  { upstream: address },
);
