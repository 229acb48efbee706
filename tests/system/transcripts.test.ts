import t from 'tap';
import { replayThroughGate } from '../fixtures/replay-through-gate.ts';
import { startSwitchedGate } from '../fixtures/switched-gate.ts';
import { loadTranscripts } from '../fixtures/transcripts/index.ts';

t.setTimeout(120_000);

t.test('exchanges recorded without a gate', async (t) => {
  const gate = await startSwitchedGate(t);
  const transcripts = loadTranscripts();
  for (const door of ['exact-sealed', 'exact-inspected'] as const) {
    for (const transcript of transcripts) {
      await t.test(`${transcript.name} passes unchanged: ${door}`, (t) =>
        replayThroughGate(t, gate, door, transcript),
      );
    }
  }
  // The other end of TLS makes no difference to what is read, so one door does.
  for (const transcript of transcripts) {
    await t.test(`${transcript.name} passes with the gate's own contact-me-uri`, (t) =>
      replayThroughGate(t, gate, 'sealed', transcript),
    );
  }
});
