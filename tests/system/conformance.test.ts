import t from 'tap';
import { checkQuirk, DOOR_MODES } from '../conformance/check.ts';
import { deviceNumber } from '../conformance/devices.ts';
import { QUIRKS } from '../conformance/quirks/index.ts';
import { ENGINES } from '../fixtures/engines.ts';
import { startSwitchedGate } from '../fixtures/switched-gate.ts';

const NOTHING_WRONG = { toService: [], toPhone: [], outcome: [] };

for (const { name, skip, start } of ENGINES)
  t.test(`what phones and services in the field do, with the outbox in ${name}`, { skip }, async (t) => {
    const gate = await startSwitchedGate(t, { engine: await start(t) });
    let played = 0;
    for (const quirk of Object.values(QUIRKS).flat()) {
      for (const mode of DOOR_MODES) {
        await t.test(`${quirk.id}: ${mode}`, async (t) => {
          t.strictSame(await checkQuirk(t, gate, mode, quirk, deviceNumber(played++)), NOTHING_WRONG);
        });
      }
    }

    await t.test('a door that changes something else than it should is found', async (t) => {
      const [quirk] = QUIRKS['How phones write'] ?? [];
      if (quirk === undefined) throw new Error('there is no quirk to be played');
      // Its service leaves the contact-me address as it is.
      const verdict = await checkQuirk(t, gate, 'exact-sealed', quirk, deviceNumber(played++));
      t.strictSame(verdict, { ...NOTHING_WRONG, toService: ['request 1: the body changed'] });
    });
  });
