import t from 'tap';
import type { Test } from 'tap';
import { startSwitchedGate } from '../fixtures/switched-gate.ts';
import type { SwitchedDoor, SwitchedGate } from '../fixtures/switched-gate.ts';
import { splitMessage } from '../fixtures/transcripts/http-text.ts';
import {
  differences,
  loadTranscripts,
  replayAsPhone,
  stubServiceFor,
} from '../fixtures/transcripts/index.ts';
import type { Replayed, Transcript, TranscriptOutcome } from '../fixtures/transcripts/index.ts';

t.setTimeout(120_000);

/** How the relay calls what a transcript came to. */
const OUTCOMES: Record<TranscriptOutcome, string> = {
  completed: 'completed',
  busy: 'busy',
  more: 'again',
  overload: 'overloaded',
  'phone-clean-up': 'phone-clean-up',
  'not-completed': 'refused',
  cut: 'cut',
};
const CONTACT_ME = /(<Item name="contact-me-uri"[^>]*>\s*)([^<\s]+)/;
/** Where the service sets no cookie, the gate sets this one. */
const OWN_COOKIE = /^answer \d+: added or changed set-cookie: sallyport=[0-9a-f]{32}$/;

function setsCookie(transcript: Transcript): boolean {
  return transcript.sessions.some(({ exchanges }) =>
    exchanges.some(({ service }) => /^set-cookie:/im.test(service.toString('latin1'))),
  );
}

function values(headers: readonly (readonly [string, string])[], name: string): string[] {
  return headers.filter(([key]) => key.toLowerCase() === name).map(([, value]) => value);
}

/** What old phones cannot take, or what was lost on the way to them. */
function wrongForPhones({ exchange, answer }: Replayed): string[] {
  if (answer === undefined || exchange.cut) return [];
  const lengths = values(answer.headers, 'content-length');
  const expected = answer.status === 204 ? [] : [String(answer.body.length)];
  const recorded = splitMessage(exchange.service).headers;
  return [
    ...(values(answer.headers, 'transfer-encoding').length > 0 ? ['a chunked answer'] : []),
    ...(lengths.join() === expected.join() ? [] : [`Content-Length ${lengths.join()} of ${expected.join()}`]),
    ...['set-cookie', 'content-type']
      .filter((name) => values(recorded, name).some((v) => !values(answer.headers, name).includes(v)))
      .map((name) => `${name} changed`),
  ];
}

/** Replays a transcript through a door and compares all that arrived, on both sides. */
async function replay(t: Test, gate: SwitchedGate, door: SwitchedDoor, transcript: Transcript) {
  const { device } = transcript;
  const rewritten = !door.startsWith('exact');
  const stub = await stubServiceFor(transcript, {
    tls: { cert: gate.certificate.cert, key: gate.certificate.key },
    ...(rewritten ? { sameBody: sameButContactMe } : {}),
  });
  t.teardown(() => stub.close());
  gate.board.lead(stub);
  const message = await gate.push(device);
  await gate.polls(device, 202);

  const replayed = await replayAsPhone(() => gate.connect(door), transcript, { cookies: 'echo' });
  t.strictSame(stub.mismatches, [], 'the service got what the phone sent');
  t.ok(stub.finished, 'every request arrived');
  for (const request of stub.seen) {
    t.equal(request.header('content-length'), String(request.body.length), 'with its length');
    t.notMatch(request.raw.toString('latin1'), /sallyport/i, 'and nothing of ours');
  }
  const changed = differences(replayed);
  const own = changed.filter((line) => OWN_COOKIE.test(line));
  t.strictSame(
    changed.filter((line) => !own.includes(line)),
    [],
    'the phone got what the service sent',
  );
  if (setsCookie(transcript)) t.strictSame(own, [], 'the service has a cookie, so we set none');
  t.strictSame(replayed.flatMap(wrongForPhones), [], 'in a form that old phones take');
  for (const { exchange, answer, fault } of replayed) {
    if (exchange.cut) t.match(answer?.status ?? fault, /^(502|cut)$/, 'what is cut does not look whole');
  }

  const expected = transcript.sessions.map(({ reason, outcome }) => ({ reason, outcome: OUTCOMES[outcome] }));
  t.strictSame(await gate.sessions(device, door, expected.length), expected, 'sessions came out as they did');
  const done = transcript.sessions.some(
    (each) => each.reason === 'solicited' && each.outcome === 'completed',
  );
  if (done) {
    await gate.comes(message, 'cleared');
    await gate.polls(device, 200);
  } else {
    await gate.polls(device, 202);
    t.equal(await gate.stateOf(message), 'held', 'the job is not done, so the phone is called again');
    await gate.call('DELETE', `/v1/devices/${device}/messages`);
  }
}

/** Whether a message differs in the address under which the phone is to be called, and in nothing else. */
function sameButContactMe(sent: Buffer, got: Buffer): boolean {
  const address = CONTACT_ME.exec(got.toString('latin1'))?.[2] ?? '';
  const wanted = sent.toString('latin1').replace(CONTACT_ME, (_whole, before: string) => before + address);
  const ours =
    !CONTACT_ME.test(wanted) ||
    /^http:\/\/127\.0\.0\.1:\d+\/\S+\/contact_dls\.html\/ContactDLS$/.test(address);
  return ours && wanted === got.toString('latin1');
}

t.test('exchanges recorded without a gate', async (t) => {
  const gate = await startSwitchedGate(t);
  const transcripts = loadTranscripts();
  for (const door of ['exact-sealed', 'exact-inspected'] as const) {
    for (const transcript of transcripts) {
      await t.test(`${transcript.name} passes unchanged: ${door}`, (t) => replay(t, gate, door, transcript));
    }
  }
  // The other end of TLS makes no difference to what is read, so one door does.
  for (const transcript of transcripts) {
    await t.test(`${transcript.name} passes with the gate's own contact-me-uri`, (t) =>
      replay(t, gate, 'sealed', transcript),
    );
  }
});
