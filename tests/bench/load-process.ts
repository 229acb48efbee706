import type { Owner } from '../fixtures/gate.ts';
import { startProcess } from '../fixtures/program.ts';
import type { LoadDone, LoadJob } from './load.ts';

/** The load as a process: the same one for all contenders, so that it's equally warm for each. */
export interface Load {
  /** Rejects when a connection fails or something is not answered 200. */
  run(job: Omit<LoadJob, 'id'>): Promise<LoadDone>;
}

export async function startLoad(owner: Owner, wrap: string[]): Promise<Load> {
  const script = new URL('load.ts', import.meta.url).pathname;
  const program = await startProcess('load', [...wrap, process.execPath, script]);
  owner.teardown(() => program.stop());
  let id = 0;
  return {
    async run(job) {
      const mine = ++id;
      program.tell(JSON.stringify({ ...job, id: mine }));
      const line = await program.line((said) => said['id'] === mine, job.warmMs + job.ms + 20_000);
      if (line.msg !== 'done') throw new Error(`the load on port ${job.port} failed: ${String(line['why'])}`);
      return line as unknown as LoadDone;
    },
  };
}
