import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Owner } from '../fixtures/gate.ts';
import { ownAddress } from '../fixtures/ports.ts';
import { serving } from './peer.ts';
import type { Peer, PeerTls } from './peer.ts';

/** Where nginx would else want to write, as whoever it was built for. */
const PLACES = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'];

/** An nginx that answers everything with an empty 200, one worker process, and looks nothing up. */
export async function startNginx(owner: Owner, wrap: string[], tls: PeerTls): Promise<Peer> {
  const dir = mkdtempSync(join(tmpdir(), 'nginx-'));
  owner.teardown(() => rmSync(dir, { recursive: true, force: true }));
  const [plain, secure] = [await ownAddress(), await ownAddress()];
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
        ssl_protocols TLSv1.3; ssl_session_tickets on; ssl_certificate ${tls.cert}; ssl_certificate_key ${tls.key};
        location / { return 200; }
      }
    }`,
  );
  const [command = '', ...args] = [...wrap, 'nginx', '-e', errors, '-p', dir, '-c', join(dir, 'nginx.conf')];
  const child = spawn(command, args, { stdio: 'ignore' });
  return serving(owner, 'nginx', child, { plain, secure }, () => readFileSync(errors, 'utf8'));
}
