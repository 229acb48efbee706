import { readFileSync } from 'node:fs';

/** Length of a clock tick in /proc, the same on all of today's Linux. */
const TICK_MS = 10;

/** Processor time that these processes have taken so far, all their threads, in milliseconds; Linux only. */
export function cpuMs(pids: readonly number[]): number {
  return pids.reduce((sum, pid) => sum + ticksOf(pid) * TICK_MS, 0);
}

function ticksOf(pid: number): number {
  // proc(5): the name may hold spaces and parentheses; after it, utime and stime are fields 12 and 13.
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8')
    .replace(/^.*\) /s, '')
    .split(' ');
  return Number(fields[11]) + Number(fields[12]);
}

/** A process and all below it; Linux only. */
export function descendants(pid: number): number[] {
  const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').split(' ').filter(Boolean);
  return [pid, ...children.flatMap((child) => descendants(Number(child)))];
}

/** Memory of a process now and at most so far, in megabytes; Linux only. */
export function memoryMb(pid: number): { now: number; most: number } {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  const field = (name: string): number =>
    Number(new RegExp(`^${name}:\\s*(\\d+) kB`, 'm').exec(status)?.[1] ?? NaN) / 1024;
  return { now: field('VmRSS'), most: field('VmHWM') };
}
