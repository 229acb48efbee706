import { readFileSync } from 'node:fs';
import { availableParallelism, cpus, loadavg, release, totalmem } from 'node:os';

/** Where and when something was measured. */
export interface Machine {
  text: string;
  /** ISO 8601. */
  date: string;
  /** Processes that wanted a core, on average over the last minute (load average). */
  load: number;
}

/** Load for each core beyond which others must have been at work, too: the benchmarks alone come to less. */
const BUSY = 2.5;

/** A sentence for figures that were taken while others worked, or nothing. */
export function warningOf({ load }: Machine): string {
  return load > BUSY * availableParallelism()
    ? ' **Others were at work on the machine meanwhile: rates are lower, and times and spreads greater, than on an idle one.**'
    : '';
}

export function describeMachine(): Machine {
  const processor = cpus()[0]?.model.trim() ?? 'unknown';
  const [load = 0] = loadavg();
  const { version } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as {
    version: string;
  };
  const memoryGb = Math.round(totalmem() / 2 ** 30);
  return {
    text: `sallyport ${version}, Node ${process.version}, Linux ${release()}, ${availableParallelism()} × ${processor}, ${memoryGb} GB, load ${load.toFixed(1)} at the end`,
    date: new Date().toISOString(),
    load,
  };
}
