import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import type { Owner } from '../fixtures/gate.ts';
import { whyForbidden } from '../fixtures/kernel.ts';

const SYSTEMCTL = fileURLToPath(new URL('systemctl.sh', import.meta.url));
const SYSTEMD = '/lib/systemd/systemd';
const COMMAND_MS = 120_000;

/** What a command on a machine came to. */
export interface Outcome {
  code: number;
  /** What it printed. */
  stdout: string;
  stderr: string;
}

/**
 * A Debian of its own: this machine's files, of which it sees a copy that is written to in memory, with its own processes
 * and a network of its own. No Node, no checkout; what is installed there is gone with the test.
 */
export interface Machine {
  /** Runs a script of `sh` as root to its end. */
  sh(script: string): Promise<Outcome>;
  /** The same, for what must succeed; resolves to what it printed. */
  must(script: string): Promise<string>;
}

/** Why there can be no such machines here; false when there can. */
export function whyNoMachines(): string | false {
  if (process.platform !== 'linux') return 'overlay mounts need Linux';
  if (process.getuid?.() !== 0) return 'overlay mounts need root';
  for (const tool of ['dpkg-deb', 'unshare', 'nsenter', 'setpriv', 'systemd-sysusers', 'curl'])
    if (spawnSync(tool, ['--version']).error !== undefined) return `no ${tool} here`;
  const there = mkdtempSync(join(tmpdir(), 'sallyport-machine-'));
  const { status, stderr } = spawnSync('unshare', ['--mount', 'sh', '-ec', mountsAt(there)], {
    encoding: 'utf8',
  });
  rmdirSync(there);
  return status === 0 ? false : `no overlay mounts here: ${stderr.trim()}`;
}

/** Why no machine can have a systemd of its own here; false when one can. */
export function whyNoSystemd(): string | false {
  const without = whyNoMachines();
  if (without !== false) return without;
  if (!existsSync(SYSTEMD)) return `no ${SYSTEMD} here`;
  const group = 'mount -t cgroup2 cgroup2 /mnt; mkdir /mnt/sp-try; rmdir /mnt/sp-try';
  return whyForbidden('control groups of its own', group, ['--mount', '--cgroup']);
}

/** What systemd wants to find; and of this machine's units nothing but what every machine needs. */
const FOR_SYSTEMD = `
    mount -t sysfs sysfs sys
    mount -t cgroup2 cgroup2 sys/fs/cgroup
    mount -t tmpfs -o mode=755 tmpfs dev
    for each in null zero full random urandom tty; do touch dev/$each; mount --bind /dev/$each dev/$each; done
    mkdir dev/shm dev/pts
    mount -t tmpfs -o mode=1777 tmpfs dev/shm
    mount -t devpts -o newinstance,ptmxmode=0666,mode=620,gid=5 devpts dev/pts
    ln -s pts/ptmx dev/ptmx
    rm -rf etc/systemd/system/*.wants var/log/journal
    for each in systemd-networkd-wait-online NetworkManager-wait-online systemd-time-wait-sync; do
      ln -sf /dev/null etc/systemd/system/$each.service
    done
    printf '[Unit]\\nRequires=basic.target\\n' > etc/systemd/system/bare.target
    echo uninitialized > etc/machine-id`;

/** Takes the place of a systemd that does not run. */
const FOR_STAND_IN = `
    mount --rbind /dev dev
    mkdir -p run/systemd/system
    rm -f usr/bin/systemctl
    cp ${SYSTEMCTL} usr/bin/systemctl
    chmod 755 usr/bin/systemctl`;

const UP_MS = 60_000;

/** Lays a layer in memory over this machine's root. */
const mountsAt = (there: string): string => `
  mount -t tmpfs machine ${there}
  mkdir ${there}/upper ${there}/work ${there}/root
  mount -t overlay machine -o lowerdir=/,upperdir=${there}/upper,workdir=${there}/work ${there}/root`;

/**
 * @param share - a folder that the machine sees, read-only, as /mnt
 * @param wrap - goes in front of the command that makes it; a namespace's, for the network of that one
 * @param systemd - whether its first process is a systemd, and units are what they are; else `systemctl` is a stand-in
 */
export async function createMachine(
  owner: Owner,
  {
    share,
    wrap = ['unshare', '--net'],
    systemd = false,
  }: { share: string; wrap?: string[]; systemd?: boolean },
): Promise<Machine> {
  const there = mkdtempSync(join(tmpdir(), 'sallyport-machine-'));
  const setup = `${mountsAt(there)}
    cd ${there}/root
    mount -t proc proc proc
    mount --bind -o ro ${share} mnt
    for each in tmp run root home; do mount -t tmpfs -o mode=755 tmpfs $each; done
    chmod 1777 tmp
    rm -f usr/sbin/policy-rc.d usr/local/bin/node usr/bin/node
    ${systemd ? FOR_SYSTEMD : FOR_STAND_IN}
    ip link set lo up
    mkdir -p tmp/old
    pivot_root . tmp/old
    cd /
    umount -l /tmp/old
    echo up
    # Ends with whoever holds the other end, and everything on the machine with it.
    exec ${systemd ? `env -i container=test ${SYSTEMD} --unit=bare.target --log-target=null` : 'cat'}`;
  const [file = '', ...args] = [
    ...wrap,
    'unshare',
    '--mount',
    '--pid',
    ...(systemd ? ['--cgroup', '--ipc', '--uts'] : []),
    '--fork',
    '--kill-child',
    'sh',
    '-ec',
    setup,
  ];
  const child = spawn(file, args, { stdio: ['pipe', 'pipe', 'pipe'] });
  let stderr = '';
  child.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString()));
  const over = new Promise<void>((resolve) => child.once('close', () => resolve()));
  owner.teardown(async () => {
    // With its parent ends the first process, whichever it is.
    if (systemd) child.kill('SIGKILL');
    child.stdin.end();
    await over;
    rmdirSync(there);
  });
  await Promise.race([
    new Promise((resolve) => child.stdout.once('data', resolve)),
    over.then(() => {
      throw new Error(`no machine: ${stderr}`);
    }),
  ]);
  // `unshare --fork` waits; the machine's first process is its child.
  const first = readFileSync(`/proc/${child.pid}/task/${child.pid}/children`, 'utf8').trim();
  const more = systemd ? ['--cgroup', '--ipc', '--uts'] : [];
  const enter = ['--target', first, '--mount', '--pid', '--net', ...more, '--root', '--wd', '--', 'sh', '-c'];

  const sh = (script: string): Promise<Outcome> =>
    new Promise((resolve, reject) => {
      const PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';
      const run = spawn('nsenter', [...enter, script], {
        stdio: ['ignore', 'pipe', 'pipe'],
        env: { PATH, HOME: '/root', LC_ALL: 'C.UTF-8', DEBIAN_FRONTEND: 'noninteractive' },
        timeout: COMMAND_MS,
      });
      const outcome: Outcome = { code: -1, stdout: '', stderr: '' };
      run.stdout.on('data', (chunk: Buffer) => (outcome.stdout += chunk.toString()));
      run.stderr.on('data', (chunk: Buffer) => (outcome.stderr += chunk.toString()));
      run.once('error', reject);
      run.once('close', (code) => resolve({ ...outcome, code: code ?? -1 }));
    });
  if (systemd) {
    for (const deadline = Date.now() + UP_MS; ; await pause(50)) {
      const { stdout } = await sh('systemctl is-system-running');
      if (/^(running|degraded)$/.test(stdout.trim())) break;
      if (Date.now() > deadline) throw new Error(`systemd did not come up: ${stdout}`);
    }
  }
  return {
    sh,
    async must(script) {
      const { code, stdout, stderr } = await sh(script);
      if (code !== 0) throw new Error(`${script}\nended with ${code}: ${stdout}${stderr}`);
      return stdout;
    },
  };
}
