import type { Clock, Milliseconds } from '../../shared/clock.ts';
import { judgeClock, readDate } from '../../shared/doctor/clock.ts';
import { fail, ok, warn } from '../../shared/doctor/finding.ts';
import type { Look } from '../../shared/doctor/finding.ts';
import { describeError, isSallyportError } from '../../shared/errors.ts';
import { GREETING_MS } from '../../shared/protocol.ts';
import type { ProxyConfig } from '../links/config.ts';
import { knock } from '../links/dial.ts';
import type { DialTarget } from '../links/dial.ts';
import { createLookup } from '../links/lookup.ts';

/** HTTP statuses by which a relay door answers a knock (proxy/relay-door.ts). */
const KNOWN_KEY = 409;
const UNKNOWN_KEY = 403;
const OTHER_VERSION = 426;
const NO_REGISTRY = 503;

/** What knocking at one proxy's relay door told. */
export interface DoorSeen {
  looks: Look[];
  /** How the clocks go of those that were reached. */
  clocks: Look[];
}

/** Knocks at a proxy, or at each that its name stands for now. */
export async function lookAtProxy(
  proxy: ProxyConfig,
  target: DialTarget,
  clock: Clock,
  signal: AbortSignal,
): Promise<DoorSeen> {
  if (proxy.name === undefined) return lookAtDoor(proxy, target, clock, signal);
  const { hostname } = proxy.url;
  const { v4, v6 } = await createLookup(hostname, proxy.name.family, proxy.name.servers)();
  const addresses = [v4, v6].flatMap((answer) => (answer instanceof Error ? [] : answer));
  const failed = [v4, v6].find((answer) => answer instanceof Error);
  if (addresses.length === 0) {
    const says = failed === undefined ? 'has no address in DNS' : describeError(failed);
    const fix =
      'see that DNS knows the proxies under this name, and that the name servers of the config answer';
    return { looks: [fail(hostname, says, fix)], clocks: [] };
  }
  const seen = await Promise.all(
    addresses.map((address) => lookAtDoor(proxy, { ...target, address }, clock, signal)),
  );
  return { looks: seen.flatMap(({ looks }) => looks), clocks: seen.flatMap(({ clocks }) => clocks) };
}

/** Knocks at a relay door as the relay itself dials it: by the way of `via`, with TLS 1.3, key against pin. */
export async function lookAtDoor(
  proxy: ProxyConfig,
  target: DialTarget,
  clock: Clock,
  signal: AbortSignal,
  withinMs: Milliseconds = GREETING_MS,
): Promise<DoorSeen> {
  const about = target.address === undefined ? proxy.url.host : `${proxy.url.host} at ${target.address}`;
  const asked = clock.wall();
  try {
    const told = await knock(target, { signal, withinMs });
    const date = readDate(told.date);
    return {
      looks: [judgeAnswer(about, told.status, told.text), ...sparePins(proxy, told.pin)],
      clocks: [judgeClock(about, date === null ? null : { date, asked, answered: clock.wall() })],
    };
  } catch (error) {
    return { looks: [fail(about, describeError(error), remedy(error, proxy))], clocks: [] };
  }
}

function judgeAnswer(about: string, status: number, text: string): Look {
  const said = `answers ${status}${text === '' ? '' : `: ${text}`}`;
  switch (status) {
    case KNOWN_KEY:
      return ok(about, 'TLS 1.3, its key is the trusted one, and this relay’s key is registered there');
    case UNKNOWN_KEY:
      return fail(
        about,
        said,
        'this relay was revoked, never joined, or the proxy’s state is new: sallyport-proxy invite NAME there, sallyport-relay join here',
      );
    case OTHER_VERSION:
      return fail(about, said, 'update the older of the two programs');
    case NO_REGISTRY:
      return fail(
        about,
        said,
        'sallyport-proxy doctor, on the proxy’s host, says what is wrong with its state',
      );
    default:
      return fail(about, said, 'something other than a relay door answers there: correct url');
  }
}

/** Of several pins one fits; the others are to go some day. */
function sparePins({ url, trust, name }: ProxyConfig, shown: string | null): Look[] {
  // Those of a name's proxies each have their own.
  if (name !== undefined || !('pins' in trust) || trust.pins.length < 2 || shown === null) return [];
  const others = trust.pins.filter((pin) => pin !== shown).length;
  return [
    warn(
      `pins of ${url.host}`,
      `${others} of ${trust.pins.length} are not those of the key that it shows now`,
      'once its key is replaced for good, leave only the pin of the present one in the config',
    ),
  ];
}

function remedy(error: unknown, { url, via, trust }: ProxyConfig): string {
  const text = describeError(error);
  const port = url.port === '' ? '443' : url.port;
  if (isSallyportError(error, 'PIN_MISMATCH')) {
    return 'if its key was replaced, invite and join again; if not, find out who answers there before anything else';
  }
  if (isSallyportError(error, 'LINK_REFUSED') && via !== null) {
    return `the corporate proxy refused: see user and password in via, and let it allow CONNECT to ${url.hostname}:${port}`;
  }
  if (/ENOTFOUND|EAI_AGAIN/.test(text))
    return `correct the name in ${via === null ? 'url' : 'url or via'}, or make it known by DNS`;
  if (via !== null && /ECONNREFUSED|EHOSTUNREACH|ETIMEDOUT/.test(text)) {
    return `is the corporate proxy ${via.host} right, and does it run? If so, does the proxy listen at ${url.host}?`;
  }
  if (text.includes('ECONNREFUSED')) {
    return `start the proxy (sallyport-proxy run) or correct the port; on its host, ss -ltn shows whether ${port} is listened on`;
  }
  if (/ETIMEDOUT|not done within|EHOSTUNREACH|ENETUNREACH/.test(text)) {
    return `let the firewalls pass this host to ${url.hostname} tcp ${port}, outbound; or name the corporate proxy in via`;
  }
  if (/alert|EPROTO|wrong version|WRONG_VERSION|SSL|ECONNRESET|hang up/i.test(text)) {
    return 'something on the way breaks TLS 1.3 (a firewall that inspects it, or no relay door at this port): let this connection pass unread';
  }
  if (/certificate|CERT|altnames/i.test(text) && 'caFile' in trust) {
    return 'the proxy’s certificate is none of the authority in ca, or has another name or has expired: use pin, or a certificate that fits';
  }
  return 'see whether the proxy runs there, and whether url and via are right';
}
