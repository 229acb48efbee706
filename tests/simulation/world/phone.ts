import type { Dice } from '../engine/dice.ts';
import { createCaller, POLITE } from './caller.ts';
import type { Manners } from './caller.ts';
import type { ProxyPlace } from './proxy.ts';
import type { World } from './world.ts';

/** One phone: polls for ever, calls when it is told to, and has its moods while the storm lasts. */
export function startPhone(world: World, options: { device: string; address: string; dice: Dice }): void {
  const { device, address, dice } = options;
  const { scheduler, plan } = world;

  // Where nothing else goes wrong it is seen best what one phone does to another.
  const ownCalls = plan.faultMs === Infinity && !plan.siege ? 0.15 : 0.04;

  /** @param number - of the message in the session at which something befalls it */
  const moodyManners = (number: number): Manners => ({
    ...POLITE,
    thinkMs: () => dice.pick([5, 50, 500, 4_000]),
    reconnects: dice.chance(0.2),
    ...(plan.actions
      ? {
          ofActions: dice.pick<Manners['ofActions']>([
            'accepted',
            'accepted',
            'accepted',
            'failed',
            'confused',
          ]),
        }
      : {}),
    ...dice.pick<Partial<Manners>>([
      {},
      {},
      {},
      {},
      { status: 'busy' },
      { leavesAt: number },
      { cleansUpAt: Math.max(1, number) },
      { fallsSilentAt: Math.max(1, number) },
    ]),
  });

  /** Does the restart that it was asked for; now and then it never gets to it. */
  async function startUp(proxy: ProxyPlace): Promise<void> {
    if (!world.calm() && dice.chance(0.3)) return;
    await scheduler.sleep(dice.pick([500, 5_000]));
    await createCaller(world, { device, proxy, dice, address }).session('start-up', POLITE);
  }

  /** Says how a deployment came out; now and then it never does, or the file was not there. */
  async function tellOutcome(
    proxy: ProxyPlace,
    { action, tag }: { action: string; tag: string },
  ): Promise<void> {
    if (!world.calm() && dice.chance(0.3)) return;
    await scheduler.sleep(dice.pick([500, 5_000, 15_000]));
    const software = action === 'SoftwareDeployment';
    const status = software || dice.chance(0.7) ? 'done' : 'failed';
    const caller = createCaller(world, { device, proxy, dice, address });
    await caller.session(software ? 'start-up' : 'status', POLITE, { tag, status });
  }

  async function live(): Promise<void> {
    await scheduler.sleep(dice.whole(0, plan.pollMs));
    for (;;) {
      const proxy = dice.pick(world.proxies);
      const calm = world.calm();
      if (proxy.poll(device, 'phone') === 202) {
        const caller = createCaller(world, { device, proxy, dice, address });
        // A real phone does nothing else meanwhile, but one that hangs may be restarted by its user.
        await Promise.race([
          caller.session('solicited', calm ? POLITE : moodyManners(dice.whole(0, 2))),
          scheduler.sleep(60_000),
        ]);
        if (caller.restarts()) await startUp(proxy);
        const fetches = caller.fetches();
        if (fetches !== null) await tellOutcome(proxy, fetches);
      } else if (!calm && dice.chance(ownCalls)) {
        const caller = createCaller(world, { device, proxy, dice, address });
        if (dice.chance(0.5)) void caller.download(dice.pick([0, 30_000, 80_000]));
        else await caller.session(dice.pick(['start-up', 'local-changes']), moodyManners(0));
      }
      const wait = calm ? 3_000 : plan.pollMs;
      await scheduler.sleep(wait + dice.whole(-wait / 10, wait / 10));
    }
  }
  void live();
}

/** Between two looks at what polls would be told. */
const PROBE_MS = 500;

/** Looks at what each device would be told at each proxy, much more often than phones do. */
export function startProbes(world: World): void {
  const { scheduler, plan } = world;
  const look = (): void => {
    for (const proxy of world.proxies) for (const device of plan.devices) proxy.poll(device, 'probe');
    if (!world.calm()) scheduler.after(PROBE_MS, look);
  };
  scheduler.after(PROBE_MS, look);
}

/** Somebody who knows devices' ids and nothing else: polls and calls in their names. */
export function startForger(world: World, dice: Dice): void {
  const { scheduler, plan } = world;
  if (plan.forgerMs === Infinity) return;

  async function live(): Promise<void> {
    for (;;) {
      await scheduler.sleep(dice.pause(plan.forgerMs));
      if (world.calm()) return;
      const device = dice.pick(plan.devices);
      const proxy = dice.pick(world.proxies);
      if (!plan.siege && dice.chance(0.3)) {
        for (let i = 0; i < 5; i++) proxy.poll(dice.chance(0.5) ? device : '00:1a:e8:ff:ff:ff', 'forger');
        continue;
      }
      const caller = createCaller(world, { device, proxy, dice, address: '203.0.113.66' });
      if (plan.siege) {
        void caller.session('solicited', { ...POLITE, fallsSilentAt: 1 });
        continue;
      }
      void caller.session(dice.pick(['solicited', 'solicited', 'start-up', 'reply-to', 'clean-up']), {
        ...POLITE,
        fallsSilentAt: dice.pick([1, 1, 1, 2, Infinity]),
        cleansUpAt: dice.pick([Infinity, Infinity, 1]),
        leavesAt: dice.pick([Infinity, Infinity, Infinity, 0, 1]),
      });
    }
  }
  void live();
}
