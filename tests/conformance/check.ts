import type { Owner } from '../fixtures/gate.ts';
import type { SwitchedDoor, SwitchedGate } from '../fixtures/switched-gate.ts';
import { differences, replayAsPhone, stubServiceFor } from '../fixtures/transcripts/index.ts';
import type { Replayed, Transcript } from '../fixtures/transcripts/index.ts';
import { RELAY_OUTCOMES } from '../fixtures/transcripts/relay-outcomes.ts';
import type { Quirk } from './quirk.ts';

/** The ways in that every quirk is played through. */
export const DOOR_MODES = ['sealed', 'inspected'] as const;
export type DoorMode = (typeof DOOR_MODES)[number];

/** What was found wrong, as sentences; empty = all is as it has to be. */
export interface Verdict {
  /** What the phone sent and what the service got. */
  toService: string[];
  /** What the service sent and what the phone got. */
  toPhone: string[];
  /** What the gate made of it: sessions, quiet, the pushed message, warnings. */
  outcome: string[];
}

const CONTACT_ME = /<Item name="contact-me-uri"[^>]*>\s*([^<\s]+)/;
const CAUGHT = /^http:\/\/127\.0\.0\.1:\d+\/\S+\/contact_dls\.html\/ContactDLS$/;
/** Where the service sets no cookie, the gate sets this one. */
const OWN_COOKIE = /^answer \d+: added or changed set-cookie: sallyport=[0-9a-f]{48}$/;

/**
 * Plays a quirk through a door while a message is pending for its device, and compares all that arrived on both
 * sides, what each session came to, and what became of the message. Waits up to 10 s for each of these.
 */
export async function checkQuirk(
  owner: Owner,
  gate: SwitchedGate,
  door: SwitchedDoor,
  quirk: Quirk,
  device: string,
): Promise<Verdict> {
  const transcript = quirk.script(device);
  const { cert, key } = gate.certificate;
  const stub = await stubServiceFor(transcript, {
    tls: { cert, key, ...(quirk.offers === undefined ? {} : { ALPNProtocols: [...quirk.offers] }) },
    sameBody: (sent, got) => sameButContactMe(sent, got) || (quirk.unseen === true && sent.equals(got)),
  });
  owner.teardown(() => stub.close());
  gate.board.lead(stub);
  const verdict: Verdict = { toService: [], toPhone: [], outcome: [] };
  const settled = async (what: string, waiting: Promise<unknown>): Promise<void> => {
    await waiting.catch((error: unknown) => {
      verdict.outcome.push(`${what}: ${error instanceof Error ? error.message : String(error)}`);
    });
  };
  const counted = await warnings(gate, quirk);
  const message = await gate.push(transcript.device);
  await gate.polls(transcript.device, 202);

  const replayed = await replayAsPhone(() => gate.connect(door), transcript, {
    cookies: quirk.cookies === 'none' ? 'recorded' : 'echo',
    ...(quirk.cookies === 'pair' ? { echo: 'pair' as const } : {}),
    async between() {
      const [session] = transcript.sessions;
      const quiet = quirk.quiet ?? session?.reason === 'solicited';
      if (quiet) await settled('quiet', gate.polls(transcript.device, 200));
    },
  });

  verdict.toService.push(...stub.mismatches, ...(stub.finished ? [] : ['not every request arrived']));
  verdict.toService.push(...stub.seen.flatMap(wrongForServices));
  if (stub.protocols.some((protocol) => protocol !== false && protocol !== 'http/1.1'))
    verdict.toService.push(`spoken to in ${stub.protocols.join()}`);

  const changed = differences(replayed);
  const own = changed.filter((line) => OWN_COOKIE.test(line));
  verdict.toPhone.push(...changed.filter((line) => !own.includes(line)), ...replayed.flatMap(wrongForPhones));
  if (setsCookie(transcript) && own.length > 0) verdict.toPhone.push('our cookie beside that of the service');

  const expected = transcript.sessions.map(({ reason, outcome }) => ({
    reason,
    outcome: RELAY_OUTCOMES[outcome],
  }));
  if (quirk.unseen !== true) {
    const wanted = JSON.stringify(expected);
    const came = gate.sessions(
      transcript.device,
      door,
      (ended) => ended.length >= expected.length && JSON.stringify(ended) === wanted,
    );
    await settled(`sessions, which should be ${wanted}`, came);
  }
  if (quirk.expects === 'cleared') {
    await settled('cleared', gate.comes(message, 'cleared'));
    await settled('polls', gate.polls(transcript.device, 200));
  } else {
    // Where the gate does not see the end of a session, it is quiet until the phone could have come back.
    if (quirk.unseen !== true) await settled('polls', gate.polls(transcript.device, 202));
    const state = await gate.stateOf(message);
    if (state !== 'held' && !(quirk.unseen === true && state === 'in_session'))
      verdict.outcome.push(`the message is ${state}, though the job is not done`);
    await gate.call('DELETE', `/v1/devices/${transcript.device}/messages`);
  }
  if (quirk.warns !== undefined && (await warnings(gate, quirk)) <= counted)
    verdict.outcome.push(`no warning ${quirk.warns} was counted`);
  await stub.close();
  return verdict;
}

/** How often the gate has warned of what the quirk is to be warned of. */
async function warnings(gate: SwitchedGate, { warns }: Quirk): Promise<number> {
  if (warns === undefined) return 0;
  const text = await (await fetch(`${gate.api}/metrics`)).text();
  const line = new RegExp(`^sallyport_warnings_total\\{[^}]*what="${warns}"[^}]*\\} (\\d+)$`, 'm');
  return Number(line.exec(text)?.[1] ?? 0);
}

/**
 * Whether a message differs in the address under which the phone is to be called, and in nothing else. The place is
 * found without the product's help: by text, with comments and CDATA blanked out.
 */
function sameButContactMe(sent: Buffer, got: Buffer): boolean {
  const text = sent.toString('latin1');
  const plain = text.replaceAll(/<!--[^]*?-->|<!\[CDATA\[[^]*?\]\]>/g, (hidden) => ' '.repeat(hidden.length));
  const found = CONTACT_ME.exec(plain);
  const value = found?.[1];
  if (found === null || value === undefined) return sent.equals(got);
  const end = found.index + found[0].length;
  const before = text.slice(0, end - value.length);
  const after = text.slice(end);
  const arrived = got.toString('latin1');
  const address = arrived.slice(before.length, arrived.length - after.length);
  return arrived === before + address + after && CAUGHT.test(address);
}

function setsCookie(transcript: Transcript): boolean {
  return transcript.sessions.some(({ exchanges }) =>
    exchanges.some(({ service }) => /^set-cookie:/im.test(service.toString('latin1'))),
  );
}

function wrongForServices(request: { header(name: string): string | undefined; body: Buffer; raw: Buffer }) {
  const length = request.header('content-length');
  const head = request.raw.subarray(0, request.raw.length - request.body.length).toString('latin1');
  return [
    ...(length === String(request.body.length) ? [] : [`Content-Length ${length} of ${request.body.length}`]),
    ...(/sallyport/i.test(head) ? ['something of ours in the headers'] : []),
  ];
}

/** What old phones cannot take, and what looks whole and is not. */
function wrongForPhones({ exchange, answer, fault }: Replayed): string[] {
  if (exchange.cut) {
    const shown = String(answer?.status ?? fault);
    return /^(502|cut)$/.test(shown) ? [] : [`what is cut off comes as ${shown}`];
  }
  if (answer === undefined) return [];
  const values = (name: string): string[] =>
    answer.headers.filter(([key]) => key.toLowerCase() === name).map(([, value]) => value);
  const lengths = values('content-length').join();
  const expected = answer.status === 204 ? '' : String(answer.body.length);
  return [
    ...(values('transfer-encoding').length > 0 ? ['a chunked answer'] : []),
    ...(lengths === expected ? [] : [`Content-Length ${lengths} of ${expected}`]),
  ];
}
