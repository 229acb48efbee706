import { createServer } from 'node:net';
import { descriptorLimit, judgeDescriptors } from '../../shared/doctor/descriptors.ts';
import { fail, ok, warn } from '../../shared/doctor/finding.ts';
import type { Look } from '../../shared/doctor/finding.ts';
import { describeError } from '../../shared/errors.ts';
import type { ProxyConfig } from '../config.ts';
import { pollWorkers } from '../poll/poll-door.ts';

/** Descriptors besides those of phones and relays: listeners of each worker, links, the state directory, ops. */
const OWN_DESCRIPTORS = 500;

/** Looks at whether every limit of connections could be reached without running out of descriptors. */
export function lookAtDescriptors({ limits, workers }: ProxyConfig, running: number | null): Look {
  const polls = limits.poll_connections * pollWorkers(workers);
  const needed = polls + limits.session_connections + limits.relay_connections + OWN_DESCRIPTORS;
  const sum = `${polls} polls, ${limits.session_connections} sessions, ${limits.relay_connections + OWN_DESCRIPTORS} others`;
  const whose = running === null ? 'a proxy started from here' : 'the running proxy';
  return judgeDescriptors(whose, running ?? descriptorLimit(), needed, sum);
}

/** Looks at how many threads poll, on how many cores. */
export function lookAtWorkers({ workers }: ProxyConfig, cores: number): Look {
  const count = pollWorkers(workers);
  const says = `${count} poll ${count === 1 ? 'worker' : 'workers'} on ${cores} ${cores === 1 ? 'core' : 'cores'}`;
  return count > Math.max(1, cores)
    ? warn('workers', says, 'write workers: auto; more threads than cores make polls slower')
    : ok('workers', says);
}

/** Looks at who the proxy runs as. */
export function lookAtPrivileges({ doors }: ProxyConfig, uid: number | null): Look {
  const wanted = doors.some(({ tls }) => tls !== 'relay' && (tls.runAs ?? null) !== null);
  if (uid !== 0) return ok('user', uid === null ? 'is no matter on this system' : `is ${uid}, not root`);
  return wanted
    ? ok('user', 'is root, as run_as wants it')
    : warn(
        'user',
        'is root, which nothing here needs',
        'run it as a user of its own (the shipped unit does), and doctor as that user',
      );
}

/** Tries what workers do to share a port, on a free one of loopback. */
export async function lookAtReusePort(workers: number | null): Promise<Look> {
  const about = 'SO_REUSEPORT';
  if (process.platform !== 'linux') {
    return ok(
      about,
      `is not used on ${process.platform}: one listener shares out connections, and --beside cannot be used`,
    );
  }
  const [one, other] = [createServer(), createServer()];
  const listen = (server: typeof one, port: number): Promise<number> =>
    new Promise((resolve, reject) => {
      server.once('error', reject);
      server.listen({ host: '127.0.0.1', port, reusePort: true }, () =>
        resolve((server.address() as { port: number }).port),
      );
    });
  try {
    await listen(other, await listen(one, 0));
    return ok(about, `works, so that workers (${pollWorkers(workers)}) can share a poll door’s port`);
  } catch (error) {
    return fail(
      about,
      `does not work: ${describeError(error)}`,
      'poll workers cannot share a port here: use a Linux kernel from 3.9 on, and no sandbox that forbids it',
    );
  } finally {
    one.close();
    other.close();
  }
}
