import t from 'tap';
import type { SessionListener } from '../../../relay-client/watcher/session-events.ts';
import { createWatcher } from '../../../relay-client/watcher/watcher.ts';
import { parseDeviceId } from '../../../shared/device-id.ts';
import { silentLog } from '../../../shared/log.ts';
import { createFakeClock } from '../../fixtures/fake-clock.ts';
import { seededRandom } from '../../fixtures/seeded-random.ts';
import { plainBody, splitMessage } from '../../fixtures/transcripts/http-text.ts';
import { loadTranscripts } from '../../fixtures/transcripts/index.ts';
import type { Transcript, TranscriptExchange } from '../../fixtures/transcripts/index.ts';
import { RELAY_OUTCOMES } from '../../fixtures/transcripts/relay-outcomes.ts';
import { phoneOrigin } from './harness.ts';

/** What the watcher warns of on the way. */
const ODDITIES: Record<string, string[]> = { 'phone-clean-up': ['odd answer-unreadable'] };
const ADDRESS = 'http://10.0.0.5:8085/x/contact_dls.html/ContactDLS';

/** Plays a transcript through a watcher and returns what it told; `apart` = each exchange on a connection of its own. */
function play(transcript: Transcript, apart: boolean) {
  const told: string[] = [];
  const bodies: { sent: Buffer; passed: Buffer }[] = [];
  const listener: SessionListener = {
    began: () => undefined,
    answered: () => undefined,
    ended: ({ device, reason }, outcome) => told.push(`${device} ${reason} ${outcome}`),
    warn: (what) => told.push(`odd ${what}`),
  };
  const clock = createFakeClock();
  const contactMeAddress = (): string => ADDRESS;
  const watcher = createWatcher({
    listener,
    clock,
    random: seededRandom(1),
    log: silentLog,
    contactMeAddress,
  });
  const open = (): ReturnType<typeof watcher.connection> => watcher.connection(phoneOrigin('192.0.2.1'));

  const exchange = (
    connection: ReturnType<typeof open>,
    { phone, service, cut }: TranscriptExchange,
  ): void => {
    const request = splitMessage(phone);
    const headers = request.headers.flat();
    const sent = plainBody(request.headers, request.body);
    const running = connection.message({ path: '/', headers, body: sent });
    bodies.push({ sent, passed: running.body });
    t.equal(running.headers, headers, `${transcript.name}: headers pass as they are`);
    if (cut) return running.cut('upstream');
    const answer = splitMessage(service);
    const body = plainBody(answer.headers, answer.body);
    running.answered({ status: Number(answer.line.split(' ')[1]), headers: answer.headers.flat(), body });
    running.delivered();
  };

  for (const { exchanges } of transcript.sessions) {
    let last: number | null = null;
    let connection = open();
    for (const each of exchanges) {
      if (last !== null && (apart || each.connection !== last)) {
        connection.closed('ended');
        connection = open();
      }
      last = each.connection;
      exchange(connection, each);
    }
    connection.closed('ended');
  }
  watcher.close();
  return { told, bodies };
}

for (const transcript of loadTranscripts()) {
  t.test(`${transcript.name} comes out as it did`, async (t) => {
    const device = parseDeviceId(transcript.device);
    const outcomes = transcript.sessions.map(
      ({ reason, outcome }) => `${device} ${reason} ${RELAY_OUTCOMES[outcome]}`,
    );
    const expected = [...(ODDITIES[transcript.name] ?? []), ...outcomes];
    for (const apart of [false, true]) {
      const { told, bodies } = play(transcript, apart);
      t.strictSame(told, expected, apart ? 'on a connection for each message' : 'on its own connections');
      for (const { sent, passed } of bodies) {
        const value = /(<Item name="contact-me-uri"[^>]*>\s*)[^<\s]+/;
        t.equal(passed.toString('latin1'), sent.toString('latin1').replace(value, `$1${ADDRESS}`));
      }
    }
  });
}
