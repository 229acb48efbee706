import { createInterface } from 'node:readline';
import type { Owner } from '../fixtures/gate.ts';
import { startProcess } from '../fixtures/program.ts';

/** A process that does one job after another: the same for all contenders, so that it is equally warm for each. */
export interface Jobs<Job, Done> {
  /** What it said when it was ready. */
  readonly ready: Readonly<Record<string, unknown>>;
  /** Rejects when the job fails, or takes longer than `withinMs`. */
  run(job: Job, withinMs: number): Promise<Done>;
}

/** @param script - beside this file; see {@link serveJobs} */
export async function startJobs<Job extends object, Done>(
  owner: Owner,
  wrap: string[],
  script: string,
): Promise<Jobs<Job, Done>> {
  const path = new URL(script, import.meta.url).pathname;
  const program = await startProcess(script, [...wrap, process.execPath, path]);
  owner.teardown(() => program.stop());
  let id = 0;
  return {
    ready: program.ready,
    async run(job, withinMs) {
      const mine = ++id;
      program.tell(JSON.stringify({ ...job, id: mine }));
      const line = await program.line((said) => said['id'] === mine, withinMs);
      if (line.msg !== 'done') {
        throw new Error(`${script} ${JSON.stringify(job).slice(0, 200)} failed: ${String(line['why'])}`);
      }
      return line as unknown as Done;
    },
  };
}

/** The process's side: reads a job a line on standard input, answers each with a line. @param ready - told at the start */
export function serveJobs<Job, Done extends object>(
  run: (job: Job) => Promise<Done>,
  ready: object = {},
): void {
  const say = (line: object): void => void process.stdout.write(`${JSON.stringify(line)}\n`);
  createInterface({ input: process.stdin }).on('line', (line) => {
    const job = JSON.parse(line) as Job & { id: number };
    run(job).then(
      (done) => say({ msg: 'done', id: job.id, ...done }),
      (error: unknown) => say({ msg: 'failed', id: job.id, why: String(error) }),
    );
  });
  process.once('SIGTERM', () => process.exit(0));
  say({ msg: 'ready', ...ready });
}
