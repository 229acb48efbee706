import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { PENDING, slowGate, startLoad } from '../fixtures/load.ts';
import { runProgram } from '../fixtures/program.ts';

/*
 * When a listener closes, Linux resets the connections that wait in its queue, unless tcp_migrate_req is on. So this runs
 * in a network of its own, where it is.
 */
const INSIDE = 'SALLYPORT_TEST_MIGRATES';
const NETWORK = 'ip link set lo up && echo 1 > /proc/sys/net/ipv4/tcp_migrate_req';

function whyNot(): string | false {
  if (process.platform !== 'linux') return 'needs Linux, where listeners can share a port';
  if (process.getuid?.() !== 0) return 'needs root, for a network of its own';
  const tried = spawnSync('unshare', ['-n', 'sh', '-c', NETWORK], { encoding: 'utf8' });
  return tried.status === 0
    ? false
    : `needs a network namespace with tcp_migrate_req: ${tried.stderr.trim()}`;
}

if (process.env[INSIDE] === undefined) {
  const skip = whyNot();
  if (skip !== false) t.test('a proxy is replaced by another beside it', { skip }, async () => undefined);
  else {
    const self = [process.execPath, '--disable-warning=ExperimentalWarning', fileURLToPath(import.meta.url)];
    await t.spawn('unshare', ['-n', 'sh', '-c', `${NETWORK} && exec "$@"`, 'sh', ...self], {
      env: { ...process.env, [INSIDE]: '1' },
    });
  }
} else {
  t.test('a proxy is replaced by another beside it: no poll fails, and no session', async (t) => {
    const gate = await slowGate(t);
    const former = gate.proxy;
    t.teardown(() => former.stop());
    const alone = await runProgram('sallyport-proxy', ['run', '--config', gate.proxyConfig]);
    t.equal(alone.code, 1);
    t.match(alone.stderr, /another program does/, 'another one by mistake is refused');

    const load = startLoad(t, gate);
    await load.goOn(6);
    await gate.startProxy(['--beside']);
    former.signal('SIGTERM');
    t.equal(await former.exited, 0);
    await gate.proxy.line(({ msg }) => msg === 'site current');
    await gate.polls(PENDING, 202);
    await load.goOn(6);
    await load.stop();
    t.same(load.failures, [], `of ${load.polls} polls and ${load.sessions} sessions`);
    t.equal(gate.proxy.lines.filter(({ msg }) => msg === 'phone connection refused').length, 0);
  });
}
