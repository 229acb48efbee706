import { readFileSync } from 'node:fs';
import { availableParallelism, cpus, loadavg, release, totalmem } from 'node:os';

/** Where and when something was measured. */
export interface Machine {
  text: string;
  /** ISO 8601. */
  date: string;
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
  };
}
