import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseDocument } from 'yaml';
import { describeError, SallyportError } from '../shared/errors.ts';
import { readJoinString } from '../shared/join-string.ts';
import type { JoinTicket } from '../shared/join-string.ts';
import { createPrivateKeyPem, readPrivateKey, selfSignedCertificate } from '../shared/key-pair.ts';
import { PATHS } from '../shared/protocol.ts';
import type { JoinAnswer } from '../shared/protocol.ts';
import { postJson } from './dial.ts';

const KEY_FILE = 'relay.key';
const CONFIG_FILE = 'relay.yaml';

/** What `join` did. */
export interface Joined {
  relay: string;
  site: string;
  url: string;
  config: string;
  /** Whether the config was there before and got one more proxy. */
  added: boolean;
}

/**
 * Registers this relay at the proxy that a join string names, and writes the proxy into `DIR/relay.yaml`. The private
 * key is made here and never leaves.
 *
 * @param via - a corporate HTTP proxy to go through
 * @throws SallyportError INVITE_INVALID, FILE_UNWRITABLE, KEY_INVALID, and what dialling can throw
 */
export async function joinProxy(
  joinString: string,
  dir: string,
  options: { now: Date; via: URL | null },
): Promise<Joined> {
  const ticket = readJoinString(joinString);
  const key = prepare(dir);
  const privateKey = readPrivateKey(key, join(dir, KEY_FILE));
  const cert = await selfSignedCertificate(
    privateKey,
    { commonName: 'sallyport relay', hosts: [] },
    options.now,
  );
  const url = new URL(ticket.url);
  const target = { url, trust: { pin: ticket.pin }, cert, key, via: options.via };
  const answer = (await postJson(target, PATHS.join, { token: ticket.token })) as JoinAnswer;
  const file = join(dir, CONFIG_FILE);
  const added = existsSync(file);
  const text = added
    ? withProxy(readFileSync(file, 'utf8'), file, ticket, answer.site, options.via)
    : newConfig(answer, ticket, options.via);
  write(file, text);
  return { relay: answer.relay, site: answer.site, url: ticket.url, config: file, added };
}

/** Makes the directory and the key where there are none, before anything is registered. */
function prepare(dir: string): string {
  const file = join(dir, KEY_FILE);
  try {
    mkdirSync(dir, { recursive: true, mode: 0o700 });
    if (existsSync(file)) return readFileSync(file, 'utf8');
    const key = createPrivateKeyPem();
    writeFileSync(file, key, { mode: 0o600, flag: 'wx' });
    return key;
  } catch (cause) {
    throw new SallyportError('FILE_UNWRITABLE', `cannot use ${file}: ${describeError(cause)}`, { cause });
  }
}

function write(file: string, text: string): void {
  try {
    writeFileSync(`${file}.new`, text);
    renameSync(`${file}.new`, file);
  } catch (cause) {
    throw new SallyportError(
      'FILE_UNWRITABLE',
      `the relay has joined, but ${file} cannot be written: ${describeError(cause)}; make it writable and join with a new invite`,
      { cause },
    );
  }
}

function newConfig(answer: JoinAnswer, ticket: JoinTicket, via: URL | null): string {
  return `# Sallyport relay. Relative paths are relative to this file. Check with: sallyport-relay check --config THIS
name: ${answer.relay}
site: ${answer.site}
key: ${KEY_FILE}             # this relay's private key; it never leaves this host
proxies:
  - url: "${ticket.url}"
    pin: "${ticket.pin}"
${via === null ? '' : `    via: "${via.href}"\n`}outbox: { path: ./outbox }
services: []                 # where the proxy's doors lead, by the name that the door says; for example:
#  - name: wpi
#    kind: wpi
#    tls: { cert: dls.pem, key: dls.key }          # shown to phones when the door is sealed (tls: relay)
#    upstream: https://dls.internal:18443
#    upstream_tls: { ca: ca.pem }                  # or pin: "sha256:…", or verify: false
#  - { name: wpi-secure, kind: tcp, upstream: "dls.internal:18444" }
# contact_me: { listen: 10.0.0.5:8085, advertise: "http://10.0.0.5:8085" }   # catches what services send to phones
api: { listen: 127.0.0.1:9470 }
`;
}

/** The config with the proxy added, or its pin renewed where it is there already; comments and order stay. */
function withProxy(text: string, file: string, ticket: JoinTicket, site: string, via: URL | null): string {
  const document = parseDocument(text);
  const proxies: unknown = document.get('proxies');
  if (
    document.errors.length > 0 ||
    typeof proxies !== 'object' ||
    proxies === null ||
    !('items' in proxies)
  ) {
    throw new SallyportError(
      'CONFIG_INVALID',
      `the relay has joined, but ${file} has no readable list of proxies; add there: { url: "${ticket.url}", pin: "${ticket.pin}" }`,
    );
  }
  if ((document.get('site') ?? 'default') !== site) {
    throw new SallyportError(
      'CONFIG_INVALID',
      `the invite is for site ${site}, but ${file} is of site ${String(document.get('site'))}; join in another directory`,
    );
  }
  const known = (document.toJS() as { proxies: { url?: string }[] }).proxies.findIndex(
    ({ url }) => url === ticket.url,
  );
  if (known >= 0) document.setIn(['proxies', known, 'pin'], ticket.pin);
  else {
    document.addIn(
      ['proxies'],
      document.createNode({ url: ticket.url, pin: ticket.pin, ...(via === null ? {} : { via: via.href }) }),
    );
  }
  return document.toString();
}
