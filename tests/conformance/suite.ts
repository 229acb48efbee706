import type { Test } from 'tap';
import { startSwitchedGate } from '../fixtures/switched-gate.ts';
import type { Engine } from '../fixtures/outbox-place.ts';
import { checkQuirk, DOOR_MODES } from './check.ts';
import { deviceNumber } from './devices.ts';
import { QUIRKS } from './quirks/index.ts';

const NOTHING_WRONG = { toService: [], toPhone: [], outcome: [] };

/** Plays what phones and services in the field do through a gate with its outbox in `engine`. */
export function conformance(t: Test, engine: Engine): void {
  t.test(`what phones and services in the field do, with the outbox in ${engine.name}`, async (t) => {
    const gate = await startSwitchedGate(t, { engine });
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
}
