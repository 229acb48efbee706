/** The command line of `sallyport-phones`: texts into checked options. */
import { readFileSync } from 'node:fs';
import { InvalidArgumentError, Option, type Command } from 'commander';
import type { SecureVersion } from 'node:tls';
import type { PhoneTls } from './dialer.ts';
import { parseTarget } from './dialer.ts';
import { MAX_PHONES, type FleetOptions } from './fleet.ts';
import { pollRequest } from './poll.ts';
import type { CookieEcho } from './session.ts';

export type TlsFlags = {
  verify?: boolean;
  ca?: string;
  cert?: string;
  key?: string;
  tlsMin?: SecureVersion;
  tlsMax?: SecureVersion;
  ciphers?: string;
};

export type RunFlags = TlsFlags & {
  poll?: string;
  service?: string;
  tls: boolean;
  count: number;
  mac: string;
  interval: number;
  intervalItem?: string;
  spread?: number;
  concurrency: number;
  duration: number;
  startup: boolean;
  busy: number;
  callTime: number;
  cookie: CookieEcho;
  close: boolean;
  pollKeepAlive: boolean;
  chunked: boolean;
  fragment: number;
  contactListen?: { host: string; port: number };
  contactGap: number;
  localAddress?: string;
  progress: number;
  events?: boolean;
  strict: boolean;
  json: boolean;
};

export type PollFlags = TlsFlags & {
  poll: string;
  device: string;
  expect?: number;
  timeout: number;
  json: boolean;
};

export function number(least: number, most: number, whole = false): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (text.trim() === '' || !(value >= least && value <= most) || (whole && !Number.isInteger(value))) {
      throw new InvalidArgumentError(
        `expected ${whole ? 'a whole number' : 'a number'} from ${least} to ${most}`,
      );
    }
    return value;
  };
}

export function pollUrl(text: string): string {
  try {
    pollRequest(text, 'x');
    return text;
  } catch {
    throw new InvalidArgumentError('expected the poll base, such as http://proxy.example:8080/dcmp/');
  }
}

function service(text: string): string {
  try {
    parseTarget(text);
    return text;
  } catch {
    throw new InvalidArgumentError('expected HOST:PORT, or a URL such as https://proxy.example:18443');
  }
}

function hostAndPort(text: string): { host: string; port: number } {
  const found = /^(?:\[([^\]]+)\]|([^:]+)):([0-9]{1,5})$/.exec(text);
  if (!found || Number(found[3]) > 65535) throw new InvalidArgumentError('expected HOST:PORT');
  return { host: found[1] ?? found[2] ?? '', port: Number(found[3]) };
}

const VERSIONS = ['TLSv1', 'TLSv1.1', 'TLSv1.2', 'TLSv1.3'];
/** Node holds a delay in 31 bits of milliseconds. */
const LONGEST_S = 2_000_000;

export function addTlsOptions(command: Command): Command {
  return command
    .option('--verify', 'verify certificates (a phone in default mode does not)')
    .option('--ca <file>', 'CA certificates for --verify (PEM)')
    .option('--cert <file>', 'client certificate, as in secure mode (PEM)')
    .option('--key <file>', 'key of the client certificate (PEM)')
    .addOption(new Option('--tls-min <version>', 'least TLS version').choices(VERSIONS))
    .addOption(new Option('--tls-max <version>', 'highest TLS version').choices(VERSIONS))
    .option('--ciphers <list>', 'OpenSSL cipher list; old firmware: DEFAULT@SECLEVEL=0');
}

export function addRunOptions(command: Command): Command {
  return addTlsOptions(
    command
      .option(
        '--poll <url>',
        'poll base, e.g. http://proxy.example:8080/dcmp/ (or let the service teach it)',
        pollUrl,
      )
      .option('--service <host:port>', 'where sessions go; without it phones only poll', service)
      .option('--no-tls', 'sessions in clear text')
      .option('-n, --count <n>', 'phones', number(1, MAX_PHONES, true), 1)
      .option('--mac <mac>', 'id of the first phone, the others count up', '00:1A:E8:00:00:01')
      .option('--interval <s>', 'seconds between polls; 0 never polls', number(0, LONGEST_S), 60)
      .option('--interval-item <name>', 'item by which the service may change the interval, in seconds')
      .option(
        '--spread <s>',
        'spread first polls and starts over S seconds (default: one interval)',
        number(0, LONGEST_S),
      )
      .option('--concurrency <n>', 'connections open at once; 0 no limit', number(0, 60_000, true), 512)
      .option(
        '--duration <s>',
        'end after S seconds; 0 runs until SIGINT or SIGTERM',
        number(0, LONGEST_S),
        0,
      )
      .option('--startup', 'open a start-up session first', false)
      .option('--busy <pct>', 'chance in percent that a call is in progress at a session', number(0, 100), 0)
      .option('--call-time <s>', 'how long such a call lasts', number(0, LONGEST_S), 5)
      .addOption(
        new Option('--cookie <how>', 'how a cookie is echoed')
          .choices(['whole', 'pair', 'none'])
          .default('whole'),
      )
      .option('--close', 'a new connection for each request of a session', false)
      .option('--poll-keep-alive', 'keep the connection open between polls', false)
      .option('--chunked', 'understand chunked answers (firmware above V2R2)', false)
      .option('--fragment <n>', 'split replies above N items; 0 only above 50 kB', number(0, 10_000, true), 0)
      .option('--contact-listen <host:port>', 'listen for Contact-me (one phone only)', hostAndPort)
      .option('--contact-gap <s>', 'least seconds between reactions to Contact-me', number(0, LONGEST_S), 300)
      .option('--local-address <ip>', 'source address of all connections')
      .option('--progress <s>', 'seconds between progress lines; 0 none', number(0, LONGEST_S), 5)
      .option('--events', 'a line for each poll and session (default with up to 10 phones)')
      .option('--no-events', 'no such lines')
      .option('--strict', 'exit 1 when any poll or session failed', false)
      .option('--json', 'JSON lines', false),
  );
}

/** @throws Error when a file cannot be read */
export function tlsOf(flags: TlsFlags): PhoneTls {
  const tls: PhoneTls = {};
  if (flags.verify) tls.verify = true;
  if (flags.ca !== undefined) tls.ca = readFileSync(flags.ca);
  if (flags.cert !== undefined) tls.cert = readFileSync(flags.cert);
  if (flags.key !== undefined) tls.key = readFileSync(flags.key);
  if (flags.tlsMin !== undefined) tls.minVersion = flags.tlsMin;
  if (flags.tlsMax !== undefined) tls.maxVersion = flags.tlsMax;
  if (flags.ciphers !== undefined) tls.ciphers = flags.ciphers;
  return tls;
}

/** @throws Error on files that cannot be read and on contradicting flags */
export function fleetOf(flags: RunFlags): FleetOptions {
  if (flags.contactListen && flags.count > 1)
    throw new Error('--contact-listen takes one phone; use --count 1');
  if (flags.startup && flags.service === undefined) throw new Error('--startup needs --service');
  if (flags.poll === undefined && flags.service === undefined)
    throw new Error('nothing to do: give --poll or --service');
  const options: FleetOptions = {
    count: flags.count,
    firstMac: flags.mac,
    concurrency: flags.concurrency,
    startUp: flags.startup,
    pollIntervalMs: flags.interval * 1000,
    pollKeepAlive: flags.pollKeepAlive,
    busyChance: flags.busy / 100,
    callDurationMs: flags.callTime * 1000,
    cookie: flags.cookie,
    keepAlive: !flags.close,
    acceptChunked: flags.chunked,
    fragmentItems: flags.fragment,
    contactGapMs: flags.contactGap * 1000,
    contactListen: flags.contactListen ?? false,
    tls: tlsOf(flags),
  };
  if (flags.poll !== undefined) options.pollUrl = flags.poll;
  if (flags.intervalItem !== undefined) options.intervalItem = flags.intervalItem;
  if (flags.spread !== undefined) options.spreadMs = flags.spread * 1000;
  if (flags.localAddress !== undefined) options.localAddress = flags.localAddress;
  if (flags.service !== undefined) {
    const { host, port, tls } = parseTarget(flags.service, flags.tls);
    options.service = `${tls && flags.tls ? 'https' : 'http'}://${host.includes(':') ? `[${host}]` : host}:${port}`;
  }
  return options;
}
