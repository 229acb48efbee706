import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { freeAddress } from '../fixtures/gate.ts';
import type { Owner } from '../fixtures/gate.ts';
import { descendants } from './cpu.ts';

/** An nginx that answers everything with an empty 200, one worker process. */
export interface Nginx {
  plain: number;
  tls: number;
  pids(): number[];
}

const DEADLINE_MS = 10_000;
/** Where nginx would else want to write, as whoever it was built for. */
const PLACES = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'];

/** @param wrap - the command in front of it; see `pinned` */
export async function startNginx(
  owner: Owner,
  wrap: string[],
  tls: { cert: string; key: string },
): Promise<Nginx> {
  const dir = mkdtempSync(join(tmpdir(), 'nginx-'));
  owner.teardown(() => rmSync(dir, { recursive: true, force: true }));
  const [plain, secure] = [await freeAddress(), await freeAddress()];
  const errors = join(dir, 'error.log');
  writeFileSync(
    join(dir, 'nginx.conf'),
    `daemon off; worker_processes 1; pid ${dir}/nginx.pid; error_log ${errors};
    events { worker_connections 4096; }
    http {
      access_log off; keepalive_requests 1000; ssl_session_cache off;
      ${PLACES.map((place) => `${place}_temp_path ${dir}/${place};`).join(' ')}
      server {
        listen ${plain};
        listen ${secure} ssl;
        ssl_protocols TLSv1.3; ssl_certificate ${tls.cert}; ssl_certificate_key ${tls.key};
        location / { return 200; }
      }
    }`,
  );
  const [command = '', ...args] = [...wrap, 'nginx', '-e', errors, '-p', dir, '-c', join(dir, 'nginx.conf')];
  const child = spawn(command, args, { stdio: 'ignore' });
  const exited = once(child, 'exit');
  owner.teardown(async () => {
    child.kill('SIGTERM');
    await exited;
  });
  const port = (address: string): number => Number(address.split(':').at(-1));
  const deadline = performance.now() + DEADLINE_MS;
  while (!(await answers(port(plain)))) {
    if (child.exitCode !== null || performance.now() > deadline) {
      throw new Error(`nginx did not start: ${readFileSync(errors, 'utf8')}`);
    }
  }
  return { plain: port(plain), tls: port(secure), pids: () => descendants(child.pid ?? 0) };
}

async function answers(port: number): Promise<boolean> {
  return fetch(`http://127.0.0.1:${port}/`).then(
    (response) => response.ok,
    () => false,
  );
}
