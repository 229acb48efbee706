import { descriptorLimit, judgeDescriptors } from '../../shared/doctor/descriptors.ts';
import { fail, ok, warn } from '../../shared/doctor/finding.ts';
import type { Look } from '../../shared/doctor/finding.ts';
import { describeError, isSallyportError } from '../../shared/errors.ts';
import { ensureFree } from '../../shared/listen.ts';
import { createDeskClient } from '../api/client.ts';
import type { ApiAddress } from '../cli/command.ts';
import type { RelayConfig } from '../config.ts';

/** Descriptors besides those of phones: the outbox, links, listeners, callers of the API. */
const OWN_DESCRIPTORS = 500;
/** Of each phone's connection: it comes in through a link, so only the one to the service is a descriptor. */
const PER_STREAM = 1;

/** What the running relay says of itself; null where none answers. */
export interface RunningSeen {
  looks: Look[];
  /** How many files it may open; null = not known. */
  descriptors: number | null;
}

/** Asks the relay that runs by this config, if there is one, whether it is ready. */
export async function lookAtRunning(config: RelayConfig, api: ApiAddress): Promise<RunningSeen> {
  const about = `relay at ${api.url}`;
  try {
    const { ready, reasons, warnings } = await createDeskClient(api).ready();
    const looks = [
      ready ? ok(about, 'runs and is ready') : warn(about, 'runs and is not ready', reasons.join('; ')),
      ...warnings.map((text) => warn(about, text, 'docs/troubleshooting.md has it by symptom')),
    ];
    return { looks, descriptors: await descriptorsOf(api) };
  } catch (error) {
    if (isSallyportError(error, 'UNAUTHORIZED')) {
      return {
        looks: [fail(about, 'refuses the token in api.token_file', 'restart it after a change of the token')],
        descriptors: null,
      };
    }
    if (!isSallyportError(error, 'API_UNREACHABLE')) {
      return {
        looks: [
          fail(
            about,
            describeError(error),
            'something else listens there: stop it, or choose another port in api.listen',
          ),
        ],
        descriptors: null,
      };
    }
    return { looks: await lookAtPorts(config, about), descriptors: null };
  }
}

async function lookAtPorts({ api, contactMe }: RelayConfig, about: string): Promise<Look[]> {
  const looks = [
    warn(
      about,
      'does not run, so what only a running relay knows was not asked',
      'sallyport-relay run --config FILE, or start its unit',
    ),
  ];
  for (const [what, listen] of [
    ['api', api?.listen],
    ['contact_me', contactMe?.listen],
  ] as const) {
    if (listen === undefined) continue;
    try {
      await ensureFree(listen, what);
    } catch (error) {
      looks.push(
        fail(`${what}.listen`, describeError(error), 'ss -ltnp shows who has the port; correct the address'),
      );
    }
  }
  return looks;
}

async function descriptorsOf({ url, token }: ApiAddress): Promise<number | null> {
  const headers = token === null ? {} : { authorization: `Bearer ${token}` };
  const response = await fetch(new URL('/metrics', url), { headers });
  const [, most] = /^sallyport_relay_process_max_fds (\d+)/m.exec(await response.text()) ?? [];
  return most === undefined ? null : Number(most);
}

/** Looks at whether as many phones as the limits allow can be served at once. */
export function lookAtDescriptors({ limits, proxies }: RelayConfig, running: number | null): Look {
  const streams = limits.lane_streams * limits.stream_lanes * proxies.length;
  const needed = streams * PER_STREAM + OWN_DESCRIPTORS;
  const whose = running === null ? 'a relay started from here' : 'the running relay';
  const sum = `${streams} streams of ${proxies.length === 1 ? '1 proxy' : `${proxies.length} proxies`}, and ${OWN_DESCRIPTORS}`;
  return judgeDescriptors(whose, running ?? descriptorLimit(), needed, sum);
}
