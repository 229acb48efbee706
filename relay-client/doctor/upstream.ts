import { isIP } from 'node:net';
import type { Socket } from 'node:net';
import { TLSSocket } from 'node:tls';
import { formatAddress, parseAddress } from '../../shared/address.ts';
import type { Address } from '../../shared/address.ts';
import { expiryWarnings } from '../../shared/certificates.ts';
import type { Clock, Milliseconds } from '../../shared/clock.ts';
import { judgeClock, readDate } from '../../shared/doctor/clock.ts';
import { fail, ok, warn } from '../../shared/doctor/finding.ts';
import type { Look } from '../../shared/doctor/finding.ts';
import { describeError } from '../../shared/errors.ts';
import { readAuthorities } from '../services/authorities.ts';
import type { ServiceConfig, WpiServiceConfig } from '../services/config.ts';
import { createTlsDialler, dialTcp } from '../services/dial.ts';
import { encodeProxyHeader } from '../services/proxy-header.ts';
import { parseUpstreamUrl } from '../services/upstream.ts';

/** Connecting, and then answering, each. */
const STEP_MS: Milliseconds = 6_000;
/** Of an answer; its first lines are all that is looked at. */
const ANSWER_BYTES = 16_384;

/** What asking a service told. */
export interface UpstreamSeen {
  looks: Look[];
  /** How its clock goes; none where it did not answer, or speaks no HTTP that we see. */
  clocks: Look[];
}

/** Asks a service as the relay does: TCP, TLS by what the config trusts, then one harmless HTTP request. */
export async function lookAtUpstream(service: ServiceConfig, clock: Clock): Promise<UpstreamSeen> {
  const about = `service ${service.name}`;
  if (service.kind === 'tcp') {
    const address = parseAddress(service.upstream);
    try {
      (await dialled((done) => dialTcp(address, clock, STEP_MS, done))).destroy();
      return { looks: [ok(about, `${service.upstream} takes connections`)], clocks: [] };
    } catch (error) {
      return { looks: [unreachable(about, address, error)], clocks: [] };
    }
  }
  return lookAtWpi(about, service, clock);
}

async function lookAtWpi(about: string, service: WpiServiceConfig, clock: Clock): Promise<UpstreamSeen> {
  const { address, secure } = parseUpstreamUrl(service.upstream);
  let socket: Socket;
  try {
    socket = await connectTo(service, address, secure, clock);
  } catch (error) {
    return { looks: [unreachable(about, address, error)], clocks: [] };
  }
  const looks = [...trustOf(about, service, secure), ...expiryOf(about, service, socket, clock)];
  try {
    const asked = clock.wall();
    const { status, date } = await askHttp(socket, address, clock);
    const told = readDate(date);
    looks.unshift(ok(about, `${service.upstream} answers HTTP (${status} to GET /)`));
    const time = told === null ? null : { date: told, asked, answered: clock.wall() };
    return { looks, clocks: [judgeClock(about, time)] };
  } catch (error) {
    looks.unshift(
      fail(
        about,
        `${service.upstream} takes connections and answers no HTTP: ${describeError(error)}`,
        secure
          ? 'is this the port of the service’s WPI interface?'
          : 'does this port speak HTTPS? Then write https:// in upstream',
      ),
    );
    return { looks, clocks: [] };
  } finally {
    socket.destroy();
  }
}

function connectTo(
  { upstreamTls, forwarded }: WpiServiceConfig,
  address: Address,
  secure: boolean,
  clock: Clock,
): Promise<Socket> {
  const manner = forwarded === 'proxy-v2' ? { header: (to: Address) => encodeProxyHeader(null, to) } : {};
  if (!secure) return dialled((done) => dialTcp(address, clock, STEP_MS, done, manner));
  const { ca, pin, verify = true } = upstreamTls;
  const trust = {
    ca: ca === undefined ? null : readAuthorities('upstream_tls.ca', ca),
    pin: pin ?? null,
    verify,
  };
  return dialled((done) => createTlsDialler(address, trust, clock, STEP_MS).dial(done, manner));
}

function dialled(
  dial: (done: (error: Error | null, socket: Socket | null) => void) => unknown,
): Promise<Socket> {
  return new Promise((resolve, reject) => {
    dial((error, socket) =>
      socket === null ? reject(error ?? new Error('no connection')) : resolve(socket),
    );
  });
}

function unreachable(about: string, address: Address, error: unknown): Look {
  const text = describeError(error);
  const where = formatAddress(address);
  return fail(about, text, remedy(text, where));
}

function remedy(text: string, where: string): string {
  if (text.includes('another key than the pin')) {
    return 'if the service’s key was renewed, put its new pin in upstream_tls; if not, find out who answers there';
  }
  if (/altnames|ALTNAME/.test(text)) {
    return 'write in upstream the name that the certificate has, or name the service’s key by upstream_tls: { pin: … }';
  }
  if (text.includes('CERT_HAS_EXPIRED')) {
    return 'renew the service’s certificate, or name its key by upstream_tls: { pin: … }, which looks at no date';
  }
  if (/CERT|certificate|UNABLE_TO/.test(text)) {
    return 'give the authority that issued it as upstream_tls: { ca: FILE }, with its intermediates, or name its key by pin';
  }
  if (/ENOTFOUND|EAI_AGAIN/.test(text))
    return 'correct the name in upstream, or make it known by DNS or /etc/hosts';
  if (text.includes('ECONNREFUSED'))
    return `start the service, or correct the port in upstream; nobody listens at ${where}`;
  if (/ETIMEDOUT|took no connection|EHOSTUNREACH|ENETUNREACH/.test(text)) {
    return `let the firewall between this host and the service pass tcp to ${where}`;
  }
  if (/EPROTO|SSL|alert|wrong version|closed the connection/i.test(text)) {
    return 'does this port speak plain HTTP? Then write http:// in upstream, without upstream_tls. Else see its TLS versions';
  }
  return 'see whether the service runs, and whether upstream is right';
}

function trustOf(about: string, { upstreamTls }: WpiServiceConfig, secure: boolean): Look[] {
  if (!secure) {
    return [
      warn(
        about,
        'is spoken to without TLS',
        'keep that on this machine or a network of its own; else give the service TLS and write https://',
      ),
    ];
  }
  if (upstreamTls.verify !== false || upstreamTls.pin !== undefined) return [];
  return [
    warn(
      about,
      'is trusted whoever it is (verify: false): who stands between can read and change everything',
      'name its key by upstream_tls: { pin: … } in the place of verify',
    ),
  ];
}

/** A pinned key is good whatever the dates say. */
function expiryOf(about: string, { upstreamTls }: WpiServiceConfig, socket: Socket, clock: Clock): Look[] {
  const certificate = socket instanceof TLSSocket ? socket.getPeerX509Certificate() : undefined;
  if (certificate === undefined || upstreamTls.pin !== undefined || upstreamTls.verify === false) return [];
  const uses = [{ name: about, notAfter: certificate.validToDate.getTime() }];
  return expiryWarnings(uses, clock.wall()).map((says) =>
    warn(about, says, 'renew it at the service: after that day no phone is led there'),
  );
}

/** One request that changes nothing; any answer will do. */
function askHttp(
  socket: Socket,
  address: Address,
  clock: Clock,
): Promise<{ status: number; date: string | undefined }> {
  return new Promise((resolve, reject) => {
    let text = '';
    const late = clock.after(STEP_MS, () => reject(new Error(`no answer within ${STEP_MS} ms`)));
    const settle = (): void => {
      const [, status] = /^HTTP\/1\.[01] (\d{3})/.exec(text) ?? [];
      if (status === undefined) {
        if (text.length < 'HTTP/1.1 200'.length && !socket.readableEnded) return;
        late.cancel();
        return reject(
          new Error(text === '' ? 'it closed the connection' : 'it says something that is no HTTP'),
        );
      }
      const end = text.indexOf('\r\n\r\n');
      if (end === -1 && text.length < ANSWER_BYTES && !socket.readableEnded) return;
      late.cancel();
      const [, date] = /^date:\s*(.*)$/im.exec(end === -1 ? text : text.slice(0, end)) ?? [];
      resolve({ status: Number(status), date: date?.trim() });
    };
    socket.on('data', (chunk: Buffer) => {
      text += chunk.toString('latin1');
      settle();
    });
    socket.once('end', settle);
    socket.once('error', (error) => {
      late.cancel();
      reject(error);
    });
    const host = isIP(address.host) === 6 ? `[${address.host}]` : address.host;
    socket.write(
      `GET / HTTP/1.1\r\nHost: ${host}:${address.port}\r\nUser-Agent: sallyport-doctor\r\nConnection: close\r\n\r\n`,
    );
  });
}
