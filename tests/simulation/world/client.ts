import type { DeviceId } from '../../../shared/device-id.ts';
import { isSallyportError } from '../../../shared/errors.ts';
import type { Message } from '../../../relay-client/outbox/outbox.ts';
import type { AskedAction, AskedPush, SeenMessage } from '../checker/facts.ts';
import type { Dice } from '../engine/dice.ts';
import type { RelayPlace, RunningRelay } from './relay.ts';
import type { World } from './world.ts';

/** A day; what lives so long lives to the end of the run, unless a night passes. */
const LONG_MS = 24 * 3_600_000;
/** Messages remembered to ask for again. */
const REMEMBERED = 30;

/** Who uses the relay's API: pushes, clears, cancels, re-drives, and looks messages up again after a restart. */
export interface Client {
  /** Pushes one message that lives long to each device. */
  pushToAll(): void;
  /** Looks up all that it remembers of. */
  lookUp(now: RunningRelay): void;
}

/** An action as the API stores it, with its tag where it can be seen in what a phone is sent. */
const toHeld = ({ action, tag }: AskedAction): object => ({
  action,
  items: [action === 'ReadItems' ? { name: `r-${tag}` } : { name: TAGGED[action], value: tag }],
});

/** The item that bears the tag. */
const TAGGED = {
  WriteItems: 'terminal-name',
  Restart: 'restart-type',
  FileDeployment: 'file-name',
  SoftwareDeployment: 'file-sw-version',
} as const;

const ACTIONS = ['WriteItems', 'WriteItems', 'ReadItems', 'ReadItems', 'Restart'] as const;
const WITH_DEPLOYMENTS = [...ACTIONS, 'FileDeployment', 'FileDeployment', 'SoftwareDeployment'] as const;

const seen = ({ id, device, generation, state }: Message): SeenMessage => ({ id, device, generation, state });

export function startClient(world: World, place: RelayPlace, dice: Dice): Client {
  const { scheduler, plan } = world;
  /** The newest last. */
  const remembered: SeenMessage[] = [];
  const keyed: AskedPush[] = [];

  const codeOf = (error: unknown): string => (isSallyportError(error) ? error.code : String(error));

  function push(now: RunningRelay, asked: AskedPush, awaitProxies: boolean): void {
    const { run } = now;
    const ask = world.nextAsk();
    world.tell({ what: 'push-asked', run, ask, push: asked });
    const { device, key, content, actions, replace, ttl, delay } = asked;
    now.outbox
      .push({
        device: device as DeviceId,
        kind: actions === null ? 'contact-me' : 'dls',
        ttl,
        delay,
        ...(actions === null ? {} : { actions: JSON.stringify(actions.map(toHeld)), replace }),
        ...(key === null ? {} : { key, content }),
      })
      .then(
        ({ message, known }) => {
          world.tell({ what: 'push-accepted', run, ask, message: seen(message), known });
          remembered.push(seen(message));
          if (remembered.length > REMEMBERED) remembered.shift();
          if (awaitProxies && !known) return heldBy(now, message);
        },
        (error: unknown) => world.tell({ what: 'push-refused', run, ask, code: codeOf(error) }),
      )
      .catch((error: unknown) => world.breach('crash', `a push failed oddly: ${codeOf(error)}`));
  }

  async function heldBy(now: RunningRelay, message: Message): Promise<void> {
    const seq = now.outbox.sequence();
    const found = await now.relay?.view.heldBy(seq, 5_000);
    if (found?.all !== true || !now.process.alive()) return;
    world.tell({
      what: 'held-by',
      run: now.run,
      message: message.id,
      device: message.device,
      proxies: found.proxies,
    });
  }

  const CALL = { actions: null, replace: false } as const;

  let tags = 0;
  const someActions = (): AskedAction[] => {
    const job = (tags += 1);
    return Array.from({ length: dice.whole(1, 2) }, (_, i) => ({
      action: dice.pick<AskedAction['action']>(plan.deployments ? WITH_DEPLOYMENTS : ACTIONS),
      tag: `t${job}-${i}`,
    }));
  };

  /** Half of the pushes are of actions, in the runs that have any. */
  const content = (): Pick<AskedPush, 'actions' | 'replace'> =>
    plan.actions && dice.chance(0.5) ? { actions: someActions(), replace: dice.chance(0.1) } : CALL;

  const ttl = (): number => dice.pick([10_000, 30_000, 90_000, LONG_MS, LONG_MS, LONG_MS]);

  function act(now: RunningRelay): void {
    const { run, outbox } = now;
    const device = dice.pick(plan.devices);
    const word = dice.weighted({
      push: 50,
      keyed: 12,
      again: 10,
      clear: 8,
      'clear-some': 10,
      cancel: 6,
      redrive: 12,
    });
    switch (word) {
      case 'push': {
        const delay = dice.pick([0, 0, 0, 3_000, 20_000]);
        const asked = { device, key: null, content: '', ttl: ttl() + delay, delay, ...content() };
        return push(now, asked, dice.chance(0.3));
      }
      case 'keyed': {
        const wanted = content();
        // Actions are never the same twice, so only the very same push may come again under their key.
        const tag = wanted.actions?.[0]?.tag;
        const asked = {
          device,
          key: tag ?? `job-${dice.whole(1, 6)}`,
          content: tag ?? dice.pick(['a', 'a', 'b']),
          ttl: ttl(),
          delay: 0,
          ...wanted,
        };
        keyed.push(asked);
        return push(now, asked, false);
      }
      case 'again':
        return keyed.length === 0 ? undefined : push(now, dice.pick(keyed), false);
      case 'clear':
      case 'clear-some': {
        const known = remembered.filter((message) => message.device === device);
        const generation = word === 'clear' ? null : known.length === 0 ? 0 : dice.pick(known).generation;
        const ask = world.nextAsk();
        world.tell({ what: 'clear-asked', run, ask, device, generation });
        const end = { state: 'cleared', by: 'api', ...(generation === null ? {} : { generation }) } as const;
        return void outbox.clear(device as DeviceId, end).then(
          (ended) =>
            world.tell({
              what: 'cleared',
              run,
              ask,
              ended: ended.map(({ id, generation }) => ({ id, generation })),
            }),
          // A crash, or a full disk: then it is as if it had not been asked.
          () => undefined,
        );
      }
      case 'cancel': {
        if (remembered.length === 0) return;
        const { id } = dice.pick(remembered);
        world.tell({ what: 'cancel-asked', run, id });
        return void outbox.end(id, { state: 'cancelled', by: 'api' }).catch(() => undefined);
      }
      case 'redrive': {
        const dead = world.dead(run);
        if (dead === null) return;
        return void outbox.redrive(dead).then(
          (message) => world.tell({ what: 'redriven', run, message: seen(message) }),
          async (error: unknown) => {
            const state = await outbox.message(dead).catch(() => null);
            world.tell({
              what: 'redrive-refused',
              run,
              id: dead,
              code: codeOf(error),
              state: state?.state ?? null,
            });
          },
        );
      }
    }
  }

  async function live(): Promise<void> {
    if (plan.clientMs === Infinity) return void scheduler.after(2_000, pushToAll);
    for (;;) {
      await scheduler.sleep(dice.pause(plan.clientMs));
      if (world.calm()) return;
      const now = place.running();
      if (now !== null && now.relay !== null && !now.process.frozen()) now.process.enter(() => act(now));
    }
  }
  void live();

  function pushToAll(): void {
    const now = place.running();
    if (now === null) return world.breach('live', 'no relay runs though all is well');
    for (const device of plan.devices) {
      const asked = { device, key: null, content: '', ttl: LONG_MS, delay: 0 };
      if (plan.actions) push(now, { ...asked, actions: someActions(), replace: false }, true);
      push(now, { ...asked, ...CALL }, true);
    }
  }

  return {
    pushToAll,
    lookUp(now) {
      const { run, outbox } = now;
      for (const { id } of remembered) {
        outbox.message(id).then(
          (message) =>
            world.tell({
              what: 'looked-up',
              run,
              id,
              state: message?.state ?? null,
              generation: message?.generation ?? null,
            }),
          () => undefined,
        );
      }
    },
  };
}
