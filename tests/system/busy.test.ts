import t from 'tap';
import type { Test } from 'tap';
import type { Action, PlainServiceOptions, RecordedRequest } from '../fixtures/services/index.ts';
import { startSwitchedGate } from '../fixtures/switched-gate.ts';
import type { SwitchedGate } from '../fixtures/switched-gate.ts';
import type { Phone, PhoneOptions, SessionResult } from '../phones/index.ts';

const WRITE: Action = { action: 'WriteItems', items: { realm: 'busy' } };

/** A registered phone, its service with a job for it, and the push that is to lead them together. */
async function expecting(
  t: Test,
  gate: SwitchedGate,
  actions: Action[],
  options: { service?: PlainServiceOptions; phone?: Partial<PhoneOptions> } = {},
) {
  const service = await gate.serve(t, options.service);
  const phone = gate.phone(t, 'sealed', options.phone);
  t.equal((await phone.start())?.outcome, 'completed');
  const done = service.enqueue(phone.deviceId, actions);
  const message = await gate.push(phone.deviceId);
  return { service, phone, done, message };
}

/** Polls, is told 202, and goes through the session that this leads to. */
async function called(t: Test, phone: Phone): Promise<SessionResult> {
  const session = phone.next('session', ({ reason }) => reason === 'solicited');
  t.equal((await phone.pollNow()).status, 202, 'the poll says: call home');
  return session;
}

/** Nothing is pending any more, and the message ended so. */
async function cleared(gate: SwitchedGate, phone: Phone, message: string): Promise<void> {
  await gate.comes(message, 'cleared');
  await gate.polls(phone.deviceId, 200);
}

/** How the device's first solicited session ended. */
async function firstOutcome(gate: SwitchedGate, { deviceId }: Phone): Promise<string | undefined> {
  const solicited = ({ reason }: { reason: string }): boolean => reason === 'solicited';
  return (await gate.sessions(deviceId, 'sealed', (all) => all.some(solicited))).find(solicited)?.outcome;
}

/** Keeps back the answers to requests of a kind, until let go. */
function gateKeeper(holds: (request: RecordedRequest) => boolean) {
  const arrived = Promise.withResolvers<void>();
  const released = Promise.withResolvers<void>();
  return {
    arrived: arrived.promise,
    release: released.resolve,
    async intercept(request: RecordedRequest): Promise<undefined> {
      if (!holds(request)) return;
      arrived.resolve();
      await released.promise;
    },
  };
}

const isReplyToWrite = ({ body }: RecordedRequest): boolean => body.includes('action="WriteItems"');

t.test('work that is not done at once', async (t) => {
  const gate = await startSwitchedGate(t);

  await t.test('a busy phone that is asked to call back does so, and only then is it done', async (t) => {
    const { phone, done, message } = await expecting(t, gate, [WRITE]);
    phone.setInCall(true);
    const first = await called(t, phone);
    t.equal(first.busy, true);
    t.equal(first.sendSolicited, true);
    await gate.polls(phone.deviceId, 202);
    t.equal(await gate.stateOf(message), 'held');
    const second = phone.next('session');
    phone.setInCall(false);
    t.equal((await second).reason, 'solicited', 'it calls by itself');
    t.equal((await done)[0]?.status, 'accepted');
    await cleared(gate, phone, message);
  });

  await t.test('a busy phone that nobody asks to call back is called until it is done', async (t) => {
    const service = { sendSolicitedOnBusy: false };
    const { phone, done, message } = await expecting(t, gate, [WRITE], { service });
    phone.setInCall(true);
    for (const round of [1, 2, 3]) {
      const session = await called(t, phone);
      t.equal(session.busy, true, `busy the ${round}. time`);
      t.equal(session.sendSolicited, false);
      await gate.polls(phone.deviceId, 202);
    }
    phone.setInCall(false);
    t.equal((await called(t, phone)).busy, false);
    t.equal((await done)[0]?.status, 'accepted');
    await cleared(gate, phone, message);
  });

  await t.test('jobs beyond one session keep the phone coming', async (t) => {
    const service = { actionsPerSession: 1 };
    const actions = [WRITE, { action: 'ReadItems', items: { e164: '' } }, WRITE];
    const { phone, done, message } = await expecting(t, gate, actions, {
      service,
      phone: { supportsSendSolicited: false },
    });
    for (let job = 1; job < actions.length; job += 1) {
      t.equal((await called(t, phone)).sendSolicited, true);
      await gate.polls(phone.deviceId, 202);
    }
    await called(t, phone);
    t.equal((await done).length, 3);
    await cleared(gate, phone, message);
  });

  await t.test('a service that sheds load has not done it', async (t) => {
    let load = true;
    const { phone, done, message } = await expecting(t, gate, [WRITE], {
      service: { shed: (_request, { reason }) => load && reason === 'solicited' },
      phone: { overloadRetries: 0 },
    });
    t.equal((await called(t, phone)).failure, 'overload');
    await gate.polls(phone.deviceId, 202);
    load = false;
    t.equal((await called(t, phone)).outcome, 'completed');
    t.equal((await done)[0]?.status, 'accepted');
    await cleared(gate, phone, message);
  });

  await t.test('a phone repeats what the service shed, and then it is done', async (t) => {
    let shed = 0;
    const { phone, done, message } = await expecting(t, gate, [WRITE], {
      service: { shed: (_request, { reason }) => reason === 'solicited' && shed++ < 2 },
      phone: { overloadWaitMs: [10, 30] },
    });
    const session = await called(t, phone);
    t.equal(session.outcome, 'completed');
    t.equal(session.overloads, 2);
    t.equal((await done)[0]?.status, 'accepted');
    await cleared(gate, phone, message);
  });

  await t.test('a phone that is told to restart registers again', async (t) => {
    const { service, phone, done, message } = await expecting(t, gate, [{ action: 'Restart' }]);
    const startUp = phone.next('session', ({ reason }) => reason === 'start-up');
    await called(t, phone);
    t.equal((await done)[0]?.status, 'accepted');
    t.equal((await startUp).outcome, 'completed');
    t.equal(service.device(phone.deviceId)?.startUps, 2);
    await cleared(gate, phone, message);
  });

  for (const fragmentAction of ['GetNextFragment', 'original'] as const) {
    await t.test(`a reply in fragments is one session (later ones name ${fragmentAction})`, async (t) => {
      const { phone, done, message } = await expecting(t, gate, [{ action: 'ReadAllItems' }], {
        phone: { fragmentItems: 50, fragmentAction },
      });
      const session = await called(t, phone);
      t.ok(session.actions.filter((action) => action === 'GetNextFragment').length >= 4);
      t.ok(((await done)[0]?.items.length ?? 0) > 200, 'the service has them all');
      await cleared(gate, phone, message);
    });
  }

  await t.test('a phone that ends a session itself has not done it', async (t) => {
    let notices = true;
    const { phone, done, message } = await expecting(t, gate, [WRITE], {
      service: {
        async intercept({ body }) {
          if (!notices || !body.includes('>solicited<')) return undefined;
          const text = Buffer.from('<b>Notice</b>: Undefined index in service.php\n');
          const head = `HTTP/1.1 200 OK\r\nContent-Type: text/xml\r\nContent-Length: ${text.length}\r\n\r\n`;
          return { head: Buffer.from(head), body: text, close: false };
        },
      },
    });
    t.equal((await called(t, phone)).failure, 'invalid-xml');
    t.equal(await firstOutcome(gate, phone), 'phone-clean-up');
    await gate.polls(phone.deviceId, 202);
    notices = false;
    await called(t, phone);
    t.equal((await done)[0]?.status, 'accepted');
    await cleared(gate, phone, message);
  });

  await t.test('while a session runs, its phone is left in peace and no other', async (t) => {
    const keeper = gateKeeper(isReplyToWrite);
    const { phone, message } = await expecting(t, gate, [WRITE], {
      service: { startUpItems: {}, intercept: keeper.intercept },
    });
    const other = '00:1A:E8:73:00:01';
    await gate.push(other);
    const session = called(t, phone);
    await keeper.arrived;
    await gate.polls(phone.deviceId, 200);
    t.equal(await gate.stateOf(message), 'in_session');
    t.equal(await gate.poll(other), 202, 'another phone may come');
    keeper.release();
    t.equal((await session).outcome, 'completed');
    await cleared(gate, phone, message);
    t.equal(await gate.poll(other), 202);
    await gate.call('DELETE', `/v1/devices/${other}/messages`);
  });

  await t.test('what is pushed while a session runs is not done by that session', async (t) => {
    const keeper = gateKeeper(isReplyToWrite);
    const { service, phone, done, message } = await expecting(t, gate, [WRITE], {
      service: { startUpItems: {}, intercept: keeper.intercept },
    });
    const session = called(t, phone);
    await keeper.arrived;
    const newer = await gate.push(phone.deviceId);
    keeper.release();
    t.equal((await session).outcome, 'completed');
    t.equal((await done)[0]?.status, 'accepted');
    t.equal(await firstOutcome(gate, phone), 'completed');
    await gate.polls(phone.deviceId, 202);
    t.equal(await gate.stateOf(message), 'superseded');
    t.equal(await gate.stateOf(newer), 'held', 'the newer one still stands');
    const again = service.enqueue(phone.deviceId, [WRITE]);
    await called(t, phone);
    t.equal((await again)[0]?.status, 'accepted');
    await cleared(gate, phone, newer);
  });

  await t.test('sessions for other reasons do no work and clear nothing', async (t) => {
    const { phone, message } = await expecting(t, gate, [WRITE]);
    t.equal((await phone.changeLocally({ e164: '4711' })).outcome, 'completed');
    t.equal((await phone.restart()).outcome, 'completed');
    t.equal(await gate.poll(phone.deviceId), 202);
    await called(t, phone);
    await cleared(gate, phone, message);
  });
});
