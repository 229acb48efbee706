import { setTimeout as pause } from 'node:timers/promises';
import type { Middleman } from '../fixtures/faults/middleman.ts';
import { stateOf } from '../fixtures/faults/strace.ts';
import { until } from '../fixtures/faults/until.ts';
import type { Gate } from '../fixtures/gate.ts';

/** What faults are done to. */
export interface Soaked {
  gate: Gate;
  /** Between relay and proxy. */
  link: Middleman;
  /** Between relay and service. */
  upstream: Middleman;
}

export interface Fault {
  name: string;
  /** Whether the processes that are watched outlive it. */
  spares: boolean;
  /** Does it, and proves that it took place. @throws Error when it did not */
  inflict(soaked: Soaked): Promise<void>;
}

const AWAY_MS = 4_000;
/** Past the seven seconds of silence after which a link is given up. */
const STOPPED_MS = 9_000;

async function cutAll(which: Middleman): Promise<void> {
  const before = which.deeds.cuts;
  await until('there is something to cut', () => which.open > 0, 30_000);
  which.cut();
  if (which.deeds.cuts === before) throw new Error('nothing was cut');
}

async function away(which: Middleman): Promise<void> {
  await which.refuse();
  await pause(AWAY_MS);
  await which.admit();
}

async function rough(which: Middleman): Promise<void> {
  const before = which.deeds.delayed;
  which.manner({ delayMs: 40, jitterMs: 40, segmentBytes: 700 });
  await cutAll(which);
  await pause(STOPPED_MS);
  which.manner({});
  await cutAll(which);
  if (which.deeds.delayed === before) throw new Error('nothing was delayed');
}

async function stop(gate: Gate, which: 'relay' | 'proxy'): Promise<void> {
  const { pid } = gate[which];
  gate[which].signal('SIGSTOP');
  await until(`the ${which} is stopped`, () => stateOf(pid) === 'T');
  await pause(STOPPED_MS);
  gate[which].signal('SIGCONT');
}

async function kill(gate: Gate, which: 'relay' | 'proxy'): Promise<void> {
  gate[which].signal('SIGKILL');
  const how = await gate[which].exited;
  if (how !== 'SIGKILL') throw new Error(`the ${which} ended with ${how}`);
  await (which === 'relay' ? gate.startRelay() : gate.startProxy());
}

async function restart(gate: Gate, which: 'relay' | 'proxy'): Promise<void> {
  const code = await gate[which].stop();
  if (code !== 0) throw new Error(`the ${which} ended with ${code}`);
  await (which === 'relay' ? gate.startRelay() : gate.startProxy());
}

export const FAULTS: readonly Fault[] = [
  { name: 'the link is cut', spares: true, inflict: ({ link }) => cutAll(link) },
  { name: 'the service refuses for 4 s', spares: true, inflict: ({ upstream }) => away(upstream) },
  { name: 'the relay is stopped for 9 s', spares: true, inflict: ({ gate }) => stop(gate, 'relay') },
  { name: "the service's connections are cut", spares: true, inflict: ({ upstream }) => cutAll(upstream) },
  { name: 'the link cannot be made for 4 s', spares: true, inflict: ({ link }) => away(link) },
  { name: 'the proxy is stopped for 9 s', spares: true, inflict: ({ gate }) => stop(gate, 'proxy') },
  {
    name: 'the link is slow, uneven and in small pieces for 9 s',
    spares: true,
    inflict: ({ link }) => rough(link),
  },
  { name: 'the relay is killed', spares: false, inflict: ({ gate }) => kill(gate, 'relay') },
  { name: 'the proxy is killed', spares: false, inflict: ({ gate }) => kill(gate, 'proxy') },
  { name: 'the relay is restarted', spares: false, inflict: ({ gate }) => restart(gate, 'relay') },
  { name: 'the proxy is restarted', spares: false, inflict: ({ gate }) => restart(gate, 'proxy') },
];
