import { execFileSync, spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir, userInfo } from 'node:os';
import { join } from 'node:path';
import type { Owner } from '../fixtures/gate.ts';
import { ownAddress } from '../fixtures/ports.ts';
import { descendants } from './cpu.ts';

/** `ssh -R` from "inside" to an sshd in the "DMZ", both of this benchmark's own. */
export interface SshReverse {
  /** The port at the sshd for each forwarded one. */
  ports: number[];
  /** The processes that carry the bytes. */
  pids(): number[];
  /** What the two agreed on by default. */
  cipher: string;
  version: string;
}

const SSHD = '/usr/sbin/sshd';
const DEADLINE_MS = 10_000;

/**
 * Starts an sshd on loopback with keys and a configuration of its own, and an ssh that forwards `targets` back from
 * it. Ciphers and everything else that costs time are OpenSSH's defaults.
 *
 * @throws Error when OpenSSH is missing or does not come up
 */
export async function startSshReverse(owner: Owner, wrap: string[], targets: number[]): Promise<SshReverse> {
  const dir = mkdtempSync(join(tmpdir(), 'ssh-reverse-'));
  owner.teardown(() => rmSync(dir, { recursive: true, force: true }));
  const file = (name: string): string => join(dir, name);
  for (const name of ['host', 'user']) {
    execFileSync('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', file(name)]);
  }
  execFileSync('cp', [file('user.pub'), file('authorized')]);
  const address = await ownAddress();
  writeFileSync(
    file('sshd_config'),
    [
      `ListenAddress ${address}`,
      `HostKey ${file('host')}`,
      `AuthorizedKeysFile ${file('authorized')}`,
      `PidFile ${file('sshd.pid')}`,
      'StrictModes no',
      'UsePAM no',
      'PermitRootLogin yes',
      'PasswordAuthentication no',
    ].join('\n'),
  );
  // As root, sshd wants its directory for privilege separation.
  if (userInfo().uid === 0) execFileSync('mkdir', ['-p', '/run/sshd']);
  const children: ChildProcess[] = [];
  owner.teardown(async () => {
    for (const child of children.reverse()) {
      if (child.exitCode !== null) continue;
      child.kill('SIGTERM');
      await once(child, 'close');
    }
  });
  const run = (
    command: string,
    args: string[],
  ): { child: ChildProcess; said: (text: RegExp) => Promise<string> } => {
    const [first = '', ...rest] = [...wrap, command, ...args];
    const child = spawn(first, rest, { stdio: ['ignore', 'ignore', 'pipe'] });
    children.push(child);
    let text = '';
    const said = (wanted: RegExp): Promise<string> =>
      new Promise((resolve, reject) => {
        const late = setTimeout(() => fail('is not ready'), DEADLINE_MS);
        const fail = (why: string): void => reject(new Error(`${command} ${why}:\n${text.slice(-2_000)}`));
        const look = (): void => {
          if (!wanted.test(text)) return;
          clearTimeout(late);
          resolve(text);
        };
        child.stderr.on('data', look);
        child.once('close', () => fail('ended'));
        child.once('error', (error) => fail(error.message));
        look();
      });
    child.stderr.on('data', (chunk: Buffer) => (text += chunk.toString('utf8')));
    return { child, said };
  };

  const sshd = run(SSHD, ['-D', '-e', '-f', file('sshd_config')]);
  await sshd.said(/Server listening/);
  const forwarded = await Promise.all(targets.map(() => ownAddress()));
  const args = [
    ...['-N', '-F', 'none', '-p', portOf(address), '-i', file('user'), '-l', userInfo().username],
    ...['-o', 'StrictHostKeyChecking=no', '-o', 'UserKnownHostsFile=/dev/null', '-o', 'BatchMode=yes'],
    ...['-o', 'ExitOnForwardFailure=yes'],
    ...forwarded.flatMap((from, i) => ['-R', `${from}:127.0.0.1:${targets[i]}`]),
    '127.0.0.1',
  ];
  // Only a talkative ssh tells the cipher, and its talk would cost it time on every connection.
  const talkative = run('ssh', ['-v', ...args]);
  const told = await talkative.said(/forwarding_success: all/);
  talkative.child.kill('SIGTERM');
  await once(talkative.child, 'close');
  const ssh = run('ssh', args);
  const ports = forwarded.map((from) => Number(portOf(from)));
  await reachable(ports, ssh.child);
  const agreed = /kex: server->client cipher: (\S+) MAC: (\S+)/.exec(told);
  return {
    ports,
    // Whoever forwards is a child of the sshd that listens.
    pids: () => [ssh.child.pid ?? 0, ...descendants(sshd.child.pid ?? 0)],
    cipher: agreed?.[1] ?? 'unknown',
    version: /remote software version (\S+)/.exec(told)?.[1] ?? 'unknown',
  };
}

const portOf = (address: string): string => address.slice(address.lastIndexOf(':') + 1);

async function reachable(ports: number[], child: ChildProcess): Promise<void> {
  const deadline = performance.now() + DEADLINE_MS;
  for (const port of ports) {
    while (!(await canConnect(port))) {
      if (child.exitCode !== null) throw new Error(`ssh ended with ${child.exitCode}`);
      if (performance.now() > deadline) throw new Error(`ssh does not forward port ${port}`);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }
}

function canConnect(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host: '127.0.0.1', port }, () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => resolve(false));
  });
}
