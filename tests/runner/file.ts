import { spawn } from 'node:child_process';
import { relative } from 'node:path';
import { createTapReader, type Outcome } from './tap-tree.ts';

/** How one test file went. */
export interface FileResult {
  /** The file's path as the report names it. */
  name: string;
  outcomes: Outcome[];
  /** What the file wrote besides TAP, cut to its last {@link maxStderrBytes}. */
  stderr: string;
  durationMs: number;
}

export interface FileOptions {
  root: string;
  /** Handed to the file as its only argument; tap makes it part of `t.testdir()`'s names. */
  runName: string;
  /** Aborting stops the file as a timeout would. */
  signal: AbortSignal;
}

/** No test file may take longer, in seconds; a hanging one must not hold up the run. Long variants ask for more. */
const fileTimeoutS = Number(process.env['TEST_FILE_S']) || 180;
/** tap gives up a little earlier, with a report of what the file was waiting for. */
const tapTimeoutS = fileTimeoutS - 10;
/** From the polite stop, at which tap says what it was waiting for, to the kill. */
const killAfterMs = 5_000;
/** How long output may stay open after the process is gone, held by processes it left behind. */
const closeAfterMs = 2_000;
const maxStderrBytes = 64 * 1024;

/** Runs one file to its end and never rejects: whatever goes wrong with it is a failed outcome. */
export async function runTestFile(file: string, options: FileOptions): Promise<FileResult> {
  const startedAt = performance.now();
  const reader = createTapReader();
  let stderr = '';
  // A process group of its own, so that whatever the test started and forgot ends with it.
  const child = spawn(
    process.execPath,
    ['--disable-warning=ExperimentalWarning', '--enable-source-maps', file, options.runName],
    {
      cwd: options.root,
      stdio: ['ignore', 'pipe', 'pipe'],
      detached: true,
      env: { ...process.env, TAP_TIMEOUT: String(tapTimeoutS) },
    },
  );
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => reader.write(chunk));
  child.stderr.setEncoding('utf8').on('data', (chunk: string) => {
    stderr = (stderr + chunk).slice(-maxStderrBytes);
  });
  const killGroup = (signal: NodeJS.Signals): void => {
    if (child.pid === undefined) return;
    try {
      process.kill(-child.pid, signal);
    } catch {
      // ESRCH: the group is gone, as it should be.
    }
  };

  const stopped = new AbortController();
  let reason = '';
  const stop = (why: string): void => {
    reason = why;
    child.kill('SIGTERM');
    setTimeout(() => killGroup('SIGKILL'), killAfterMs).unref();
  };
  const timeout = setTimeout(() => stop(`still running after ${fileTimeoutS} s`), fileTimeoutS * 1000);
  options.signal.addEventListener('abort', () => stop('the run was stopped'), { signal: stopped.signal });

  const ended = await new Promise<string>((resolve) => {
    let how = '';
    child.once('error', (error) => resolve(`could not be started: ${error.message}`));
    child.once('exit', (code, signal) => {
      how = signal !== null ? `ended by ${signal}` : code === 0 ? '' : `exit code ${code}`;
      killGroup('SIGKILL');
      setTimeout(() => {
        child.stdout.destroy();
        child.stderr.destroy();
      }, closeAfterMs).unref();
    });
    child.once('close', () => resolve(how));
  });
  clearTimeout(timeout);
  stopped.abort();

  const outcomes = reader.end();
  const problem = [reason, ended].filter((text) => text !== '').join('; ');
  if (problem !== '' && !outcomes.some(({ kind }) => kind === 'failed')) {
    outcomes.push({ name: '', kind: 'failed', detail: `the file failed apart from its tests: ${problem}` });
  } else if (reason !== '') {
    outcomes.push({ name: '', kind: 'failed', detail: reason });
  } else if (outcomes.length === 0) {
    outcomes.push({ name: '', kind: 'failed', detail: 'no test ran in this file' });
  }
  return { name: relative(options.root, file), outcomes, stderr, durationMs: performance.now() - startedAt };
}
