import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { describeError, SallyportError } from '../shared/errors.ts';
import { createPrivateKeyPem, pinOf, readPrivateKey, selfSignedCertificate } from '../shared/key-pair.ts';
import type { Pin } from '../shared/key-pair.ts';

/** The config that `init` writes: all of the common case, ready to run. */
const configWith = (
  state: string,
): string => `# Sallyport proxy. Relative paths are relative to this file. Check with: sallyport-proxy check --config THIS
poll:                        # where phones poll
  - listen: 0.0.0.0:8080
doors:                       # where phones reach their provisioning service
  - { name: wpi, service: wpi, listen: 0.0.0.0:18443, tls: relay }
  - { name: wpi-secure, service: wpi-secure, listen: 0.0.0.0:18444, tls: relay }
relay:                       # where relays dial in
  listen: 0.0.0.0:9443
  # advertise: "wss://proxy.example:9443"    # what relays are told to dial; invite --url says it too
  tls: { cert: proxy.pem, key: proxy.key }
  state: ${state}
sites:
  - name: default
    session_gap_s: 60        # least seconds between two sessions of one phone
    max_sessions: 200
ops: { listen: 127.0.0.1:9464 }
`;

/**
 * Makes a directory that a proxy can run from: config, key, certificate, empty state.
 *
 * @param state - the state's directory, absolute, if not `state` beside the config
 * @throws SallyportError FILE_UNWRITABLE, also when one of the files is there already: nothing is ever overwritten
 */
export async function initProxy(
  dir: string,
  now: Date,
  state?: string,
): Promise<{ files: string[]; pin: Pin }> {
  const files = ['proxy.yaml', 'proxy.pem', 'proxy.key'].map((name) => join(dir, name));
  const [config, cert, key] = files as [string, string, string];
  const there = files.find((file) => existsSync(file));
  if (there !== undefined) {
    throw new SallyportError(
      'FILE_UNWRITABLE',
      `${there} is there already; init never overwrites, choose another directory`,
    );
  }
  const stateDir = state ?? join(dir, 'state');
  const pem = createPrivateKeyPem();
  const privateKey = readPrivateKey(pem, key);
  const hosts = ['localhost', '127.0.0.1', '::1', hostname()].filter(
    (host, i, all) => all.indexOf(host) === i,
  );
  const certificate = await selfSignedCertificate(privateKey, { commonName: 'sallyport proxy', hosts }, now);
  try {
    mkdirSync(dir, { recursive: true, mode: 0o700 });
    mkdirSync(stateDir, { recursive: true, mode: 0o700 });
    writeFileSync(key, pem, { mode: 0o600, flag: 'wx' });
    writeFileSync(cert, certificate, { flag: 'wx' });
    writeFileSync(config, configWith(state === undefined ? './state' : JSON.stringify(state)), {
      flag: 'wx',
    });
  } catch (cause) {
    throw new SallyportError('FILE_UNWRITABLE', `cannot write to ${dir}: ${describeError(cause)}`, { cause });
  }
  return { files: [...files, stateDir], pin: pinOf(privateKey) };
}
