import { existsSync, mkdirSync, readFileSync, renameSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { isMap, isSeq, parseDocument } from 'yaml';
import type { Document, YAMLSeq } from 'yaml';
import { describeError, SallyportError } from '../../shared/errors.ts';
import { readJoinString } from '../../shared/join-string.ts';
import type { JoinTicket } from '../../shared/join-string.ts';
import { createPrivateKeyPem, readPrivateKey, selfSignedCertificate } from '../../shared/key-pair.ts';
import { NAME_PATTERN } from '../../shared/mux-opening.ts';
import { PATHS } from '../../shared/protocol.ts';
import type { JoinAnswer } from '../../shared/protocol.ts';
import { postJson } from './dial.ts';
import { ensureKeyFile } from '../outbox/key-file.ts';

const KEY_FILE = 'relay.key';
const OUTBOX_KEY_FILE = 'outbox.key';
/** A key that is registered beside the present one, to take its place. */
const NEXT_KEY_FILE = 'relay.key.new';
const CONFIG_FILE = 'relay.yaml';
/** A config may hold the password of a corporate HTTP proxy. */
const CONFIG_MODE = 0o600;

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
 * key is made here and never leaves; so is the outbox's key, with a new config.
 *
 * @param options - `via`: a corporate HTTP proxy to go through. `outbox`: the outbox's directory in a new config, if not
 *   `outbox` beside it. `newKey`: registers the relay that is there with another
 *   key, in `DIR/relay.key.new`, beside its present one
 * @throws SallyportError INVITE_INVALID, FILE_UNREADABLE, FILE_UNWRITABLE, KEY_INVALID, CONFIG_INVALID, and what
 *   dialling can throw
 */
export async function joinProxy(
  joinString: string,
  dir: string,
  options: { now: Date; via: URL | null; newKey?: boolean; outbox?: string },
): Promise<Joined> {
  const ticket = readJoinString(joinString);
  const keyFile = options.newKey === true ? NEXT_KEY_FILE : KEY_FILE;
  if (options.newKey === true && !existsSync(join(dir, CONFIG_FILE))) {
    throw new SallyportError(
      'CONFIG_INVALID',
      `there is no ${join(dir, CONFIG_FILE)}, hence no relay whose key could be replaced; join without --new-key`,
    );
  }
  const key = prepare(dir, keyFile);
  const privateKey = readPrivateKey(key, join(dir, keyFile));
  const cert = await selfSignedCertificate(
    privateKey,
    { commonName: 'sallyport relay', hosts: [] },
    options.now,
  );
  const file = join(dir, CONFIG_FILE);
  // Looked at before the invite is used: a config that cannot take one more proxy must not cost it.
  const config = existsSync(file) ? readConfig(file) : null;
  // Made here, since a relay may run as a user who can write into the outbox only.
  if (config === null) ensureKeyFile(join(dir, OUTBOX_KEY_FILE));
  const url = new URL(ticket.url);
  const target = { url, trust: { pins: [ticket.pin] }, cert, key, via: options.via };
  const answer = readAnswer(await postJson(target, PATHS.join, { token: ticket.token }), url);
  const text =
    config === null
      ? newConfig(answer, ticket, options.via, options.outbox)
      : withProxy(config, file, ticket, answer.site, options.via);
  write(file, text);
  return { relay: answer.relay, site: answer.site, url: ticket.url, config: file, added: config !== null };
}

/** What a proxy says of the relay that joins. */
type Joining = Pick<JoinAnswer, 'relay' | 'site'>;

/** What the proxy answered goes into a config that decides where phones are led, so it may hold names only. */
function readAnswer(answer: unknown, url: URL): Joining {
  const { relay, site } = (answer ?? {}) as Record<string, unknown>;
  if (isName(relay) && isName(site)) return { relay, site };
  throw new SallyportError('LINK_REFUSED', `${url.host} answered the join with something that is no name`);
}

const isName = (value: unknown): value is string => typeof value === 'string' && NAME_PATTERN.test(value);

/** Makes the directory and the key where there are none, before anything is registered. */
function prepare(dir: string, keyFile: string): string {
  const file = join(dir, keyFile);
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
    const mode = existsSync(file) ? statSync(file).mode & 0o777 : CONFIG_MODE;
    writeFileSync(`${file}.new`, text, { mode });
    renameSync(`${file}.new`, file);
  } catch (cause) {
    throw new SallyportError(
      'FILE_UNWRITABLE',
      `the relay has joined, but ${file} cannot be written: ${describeError(cause)}; make it writable and join with a new invite`,
      { cause },
    );
  }
}

function newConfig(
  { relay, site }: Joining,
  ticket: JoinTicket,
  via: URL | null,
  outbox: string | undefined,
): string {
  const store = outbox === undefined ? 'path: ./outbox' : `path: ${quote(outbox)}, key: ${OUTBOX_KEY_FILE}`;
  return `# Sallyport relay. Relative paths are relative to this file. Check with: sallyport-relay check --config THIS
name: ${quote(relay)}
site: ${quote(site)}
key: ${KEY_FILE}             # this relay's private key; it never leaves this host
proxies:
  - url: ${quote(ticket.url)}
    pin: ${quote(ticket.pin)}
${via === null ? '' : `    via: ${quote(via.href)}\n`}outbox: { ${store} }   # its key is outbox.key: keep a copy of it, apart from copies of the outbox
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

/** Any text as a YAML scalar: a name such as `1e3` or `no` would else be read as something other than text. */
const quote = (text: string): string => JSON.stringify(text);

interface ExistingConfig {
  document: Document;
  proxies: YAMLSeq;
}

function readConfig(file: string): ExistingConfig {
  const document: Document = parseDocument(readText(file));
  const proxies: unknown = document.get('proxies');
  if (document.errors.length > 0 || !isSeq(proxies)) {
    throw new SallyportError(
      'CONFIG_INVALID',
      `${file} has no readable list of proxies to which one could be added; mend it (sallyport-relay check --config ${file}) or join in another directory`,
    );
  }
  return { document, proxies };
}

function readText(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (cause) {
    throw new SallyportError('FILE_UNREADABLE', `cannot read ${file}: ${describeError(cause)}`, { cause });
  }
}

/** The config with the proxy added, or its pin renewed where it is there already; comments and order stay. */
function withProxy(
  { document, proxies }: ExistingConfig,
  file: string,
  ticket: JoinTicket,
  site: string,
  via: URL | null,
): string {
  const written: unknown = document.get('site') ?? 'default';
  if (written !== site) {
    throw new SallyportError(
      'CONFIG_INVALID',
      `the invite is for site ${site}, but ${file} is of site ${String(written)}; join in another directory`,
    );
  }
  const known = proxies.items.find((item) => isMap(item) && sameUrl(item.get('url'), ticket.url));
  if (isMap(known)) {
    known.set('pin', ticket.pin);
    known.delete('ca');
  } else {
    proxies.add(
      document.createNode({ url: ticket.url, pin: ticket.pin, ...(via === null ? {} : { via: via.href }) }),
    );
  }
  return document.toString();
}

function sameUrl(written: unknown, url: string): boolean {
  return typeof written === 'string' && URL.parse(written)?.href === URL.parse(url)?.href;
}
