import { randomBytes } from 'node:crypto';
import { open, rm, statfs } from 'node:fs/promises';
import { join } from 'node:path';
import type { Milliseconds } from '../clock.ts';
import { describeError } from '../errors.ts';
import { fail, ok, warn } from './finding.ts';
import type { Look } from './finding.ts';

/** Syncs that are timed: enough for a median, few enough for a busy disk. */
const SYNCS = 8;
const BLOCK_BYTES = 4_096;
/** Up to this a sync is fast enough; each commit of an outbox waits for one. */
const FINE_MS: Milliseconds = 30;
/** From this on pushes would time out. */
const UNUSABLE_MS: Milliseconds = 1_000;

const GIB = 2 ** 30;
const MIB = 2 ** 20;

/** Types of file systems as statfs(2) tells them, on which a store that must not lose anything does not belong. */
const TYPES: ReadonlyMap<number, { name: string; why: string }> = new Map([
  [0x6969, { name: 'NFS', why: 'locks and syncs over a network are not to be trusted' }],
  [0xff534d42, { name: 'CIFS', why: 'locks and syncs over a network are not to be trusted' }],
  [0xfe534d42, { name: 'SMB', why: 'locks and syncs over a network are not to be trusted' }],
]);
const IN_MEMORY: ReadonlyMap<number, string> = new Map([
  [0x01021994, 'tmpfs'],
  [0x858458f6, 'ramfs'],
]);

/** Times real syncs of a file that is made in `dir` and removed again. */
async function timeSyncs(dir: string, signal: AbortSignal): Promise<Milliseconds[]> {
  const path = join(dir, `.doctor-${randomBytes(6).toString('hex')}`);
  const times: Milliseconds[] = [];
  const file = await open(path, 'wx', 0o600);
  try {
    for (let i = 0; i < SYNCS && !signal.aborted; i++) {
      await file.write(Buffer.alloc(BLOCK_BYTES, i));
      const from = performance.now();
      await file.datasync();
      times.push(performance.now() - from);
    }
  } finally {
    await file.close();
    await rm(path);
  }
  return times;
}

/** Says how fast syncs of these times are. */
export function judgeSyncs(about: string, times: readonly Milliseconds[]): Look {
  const sorted = times.toSorted((a, b) => a - b);
  const median = sorted[Math.floor(sorted.length / 2)] ?? 0;
  const slowest = sorted.at(-1) ?? 0;
  const says = `a sync takes ${shown(median)}, at most ${shown(slowest)} of ${sorted.length}`;
  if (median > UNUSABLE_MS) {
    return fail(
      about,
      says,
      'move the outbox to a disk that works: pushes wait for each sync and will time out',
    );
  }
  return median > FINE_MS
    ? warn(about, says, 'move the outbox to a faster disk (SSD): each commit waits for one sync')
    : ok(about, says);
}

/** Looks at how fast the disk under `dir` keeps what it is given. */
export async function lookAtSyncs(dir: string, signal: AbortSignal): Promise<Look> {
  try {
    return judgeSyncs(dir, await timeSyncs(dir, signal));
  } catch (error) {
    return fail(
      dir,
      `no file can be written and synced there: ${describeError(error)}`,
      'make the directory writable for the user that the program runs as, and see whether the disk is full or read-only',
    );
  }
}

/** What is judged of a file system, as statfs(2) tells it. */
export interface Room {
  type: number;
  /** Bytes and files that an ordinary user may still write; `files` 0 = the file system does not count them. */
  bytes: number;
  files: number;
  filesTotal: number;
}

/** @throws Error of the system */
export async function roomOf(dir: string): Promise<Room> {
  const { type, bavail, bsize, ffree, files } = await statfs(dir);
  return { type, bytes: bavail * bsize, files: ffree, filesTotal: files };
}

/** Says whether there is room, and whether it is a place for a store. */
export function judgeRoom(about: string, { type, bytes, files, filesTotal }: Room): Look[] {
  const shared = TYPES.get(type);
  const memory = IN_MEMORY.get(type);
  const free = bytes >= GIB ? `${(bytes / GIB).toFixed(1)} GiB` : `${Math.floor(bytes / MIB)} MiB`;
  const says = `${free} free`;
  const fix =
    'make room, or move the outbox to a larger disk; at none left pushes are refused with OUTBOX_STORAGE';
  const room =
    bytes < 64 * MIB ? fail(about, says, fix) : bytes < GIB ? warn(about, says, fix) : ok(about, says);
  return [
    room,
    ...(filesTotal > 0 && files < 100
      ? [
          fail(
            about,
            `only ${files} more files can be made there`,
            'remove files, or make a file system with more inodes',
          ),
        ]
      : []),
    ...(shared === undefined
      ? []
      : [fail(about, `is on ${shared.name}: ${shared.why}`, 'use a local disk for the outbox')]),
    ...(memory === undefined
      ? []
      : [
          warn(
            about,
            `is on ${memory}, in memory: it is gone when the machine restarts`,
            'use a disk for the outbox',
          ),
        ]),
  ];
}

const shown = (ms: Milliseconds): string => `${ms < 10 ? ms.toFixed(1) : Math.round(ms)} ms`;
