import { parseAddress } from '../../shared/address.ts';
import type { Address } from '../../shared/address.ts';
import type { Milliseconds } from '../../shared/clock.ts';
import { fail, ok, warn } from '../../shared/doctor/finding.ts';
import type { Look } from '../../shared/doctor/finding.ts';
import { lookAtTlsDoor } from '../../shared/doctor/tls-offer.ts';
import { describeError } from '../../shared/errors.ts';
import type { RelayConfig } from '../config.ts';

/** A device that nobody has: its poll is answered 200, and tells nobody anything. */
const NOBODY = 'doctor-looks';
/** What stands in the place of a phone's secret. */
const SECRET_PLACE = '{poll_secret}';
/** No secret is this one. */
const NO_SECRET = 'x'.repeat(22);
const POLL_MS: Milliseconds = 6_000;

/** The poll addresses that phones are taught, or that warnings.poll_urls calls ours. */
export function pollUrlsOf({ services, warnings }: RelayConfig): string[] {
  const taught = services.flatMap((service) =>
    service.kind === 'wpi' ? (service.teach?.['dcmp-url'] ?? []) : [],
  );
  return [...new Set([...taught, ...warnings.pollUrls])];
}

/** Polls as a phone would, under an id that nobody has. */
export async function lookAtPollUrl(url: string, signal: AbortSignal): Promise<Look> {
  const about = `poll address ${url}`;
  const target = URL.parse(`contact-me?device-id=${NOBODY}`, url.replace(SECRET_PLACE, NO_SECRET));
  if (target === null) return fail(about, 'is no URL', 'correct teach.dcmp-url or warnings.poll_urls');
  try {
    const response = await fetch(target, {
      redirect: 'manual',
      signal: AbortSignal.any([signal, AbortSignal.timeout(POLL_MS)]),
    });
    await response.body?.cancel();
    if (response.status === 200)
      return ok(about, 'answers a poll of an unknown device with 200, as it should');
    return fail(
      about,
      `answers a poll with ${response.status}`,
      response.status === 404
        ? 'the path is under no poll_prefixes of the proxy’s sites: correct one of the two'
        : 'something other than a poll door answers there, or stands before it: correct the address',
    );
  } catch (error) {
    const cause = error instanceof Error && error.cause !== undefined ? error.cause : error;
    return warn(
      about,
      `cannot be reached from this host: ${describeError(cause)}`,
      `that may be right, if only phones may reach it; try it where a phone is: curl -i '${target.href}'`,
    );
  }
}

/** Looks at session doors as an old phone does. Their addresses are the proxy's to know, so they are given by hand. */
export async function lookAtPhoneDoors(
  doors: readonly Address[],
  now: Milliseconds,
  signal: AbortSignal,
): Promise<Look[]> {
  if (doors.length === 0) {
    return [
      ok(
        'session doors',
        'only the proxy knows where they are: --door HOST:PORT looks at one as an old phone does',
        'or run sallyport-proxy doctor on the proxy’s host',
      ),
    ];
  }
  const looks: Look[] = [];
  for (const door of doors) {
    looks.push(
      ...(await lookAtTlsDoor(
        door,
        now,
        signal,
        'is this a session door, does the proxy run, is the relay linked, and does the service have tls? A firewall may also keep this host away',
      )),
    );
  }
  return looks;
}

/** @throws SallyportError ADDRESS_INVALID */
export const parseDoors = (texts: readonly string[]): Address[] => texts.map(parseAddress);
