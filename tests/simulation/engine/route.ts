import type { Milliseconds } from '../../../shared/clock.ts';
import type { Lane, LaneEvents } from '../../../shared/lane.ts';
import { CLOSE } from '../../../shared/protocol.ts';
import type { Dice } from './dice.ts';
import type { Process } from './process.ts';
import type { Scheduler } from './scheduler.ts';

/** Bytes unread from which on a socket tells when it has drained. */
const HIGH_WATER_BYTES = 16_384;
/** How long a peer may take to answer a close; the adapters have the same wait. */
const CLOSE_WAIT_MS: Milliseconds = 2_000;
/** How long a dial takes to give up. */
const DIAL_MS: Milliseconds = 10_000;
/** Where packets get through one way only, TCP stops sending after a while: nobody acknowledges. */
const ONE_WAY_MS: Milliseconds = 2_000;

export type Direction = 'toProxy' | 'toRelay';

/** What joins the two ends of one lane. */
export interface Wire {
  /** The relay's end. */
  readonly relayEnd: Lane;
  readonly proxyEnd: Lane;
  attach(direction: Direction, events: LaneEvents): void;
}

/** The network between a relay's host and a proxy's. */
export interface Route {
  wire(relay: Process, proxy: Process): Wire;
  /** Resolves when a first packet has got to the other side; rejects where that is refused, or takes too long. */
  reach(signal: AbortSignal, answers: () => boolean): Promise<void>;
  /** Every connection is reset. */
  cut(): void;
  /** Nothing gets through, in one direction or both, and nobody is told. What was sent arrives once `heal` is called. */
  stall(direction: Direction | 'both'): void;
  /** Connections are refused, and running ones are reset. */
  refuse(): void;
  /** @param forgotten - what stood between has lost every connection meanwhile, as a firewall may */
  heal(forgotten: boolean): void;
}

interface End {
  readonly owner: Process;
  readonly sending: Direction;
  events: LaneEvents | null;
  state: 'open' | 'closing' | 'closed';
  /** When the last thing sent arrives at the other end. */
  arrival: Milliseconds;
  backlog: number;
  high: boolean;
  waiting: (() => void)[];
  own: { code: number; reason: string } | null;
}

export function createRoute(scheduler: Scheduler, dice: Dice): Route {
  const wires = new Set<{ ends: [End, End] }>();
  const stalled: Record<Direction, boolean> = { toProxy: false, toRelay: false };
  let refusing = false;
  const latency = (): Milliseconds => dice.whole(1, 40);

  function finish(end: End, code: number, reason: string): void {
    if (end.state === 'closed') return;
    end.state = 'closed';
    end.waiting.length = 0;
    const { code: told, reason: why } = end.own ?? { code, reason };
    end.owner.enter(() => end.events?.closed(told, why));
  }

  /** Brings something to the other end, after all that was sent before. */
  function bring(from: End, task: () => void): void {
    if (stalled[from.sending]) return void from.waiting.push(task);
    from.arrival = Math.max(from.arrival, scheduler.now() + latency());
    scheduler.at(from.arrival, task);
  }

  function send(from: End, to: End, frame: string | Uint8Array, sent?: () => void): void {
    if (from.state !== 'open') return;
    const size = frame.length;
    from.backlog += size;
    from.high ||= from.backlog > HIGH_WATER_BYTES;
    bring(from, () => {
      if (to.state !== 'closed') {
        const arrived = typeof frame === 'string' ? frame : Buffer.from(frame);
        to.owner.enter(() => {
          if (to.state !== 'closed') to.events?.frame(arrived);
        });
      }
      from.backlog -= size;
      if (from.state === 'closed') return;
      sent?.();
      if (from.backlog > 0 || !from.high) return;
      from.high = false;
      from.owner.enter(() => from.events?.drained());
    });
  }

  function close(from: End, to: End, code: number, reason: string): void {
    if (from.state !== 'open') return;
    from.state = 'closing';
    from.own = { code, reason };
    bring(from, () => {
      finish(to, code, reason);
      bring(to, () => finish(from, code, reason));
    });
    // One that has fallen silent answers no close either; but it may still hear of it.
    scheduler.after(code === CLOSE.silent ? 0 : CLOSE_WAIT_MS, () => cut(from, to));
  }

  function cut(from: End, to: End): void {
    scheduler.after(0, () => finish(from, 1006, 'cut'));
    bring(from, () => finish(to, 1006, 'reset'));
  }

  function reset(wire: { ends: [End, End] }): void {
    wires.delete(wire);
    for (const end of wire.ends) scheduler.after(latency(), () => finish(end, 1006, 'reset'));
  }

  return {
    wire(relay, proxy) {
      const make = (owner: Process, sending: Direction): End => ({
        owner,
        sending,
        events: null,
        state: 'open',
        arrival: 0,
        backlog: 0,
        high: false,
        waiting: [],
        own: null,
      });
      const ends: [End, End] = [make(relay, 'toProxy'), make(proxy, 'toRelay')];
      const wire = { ends };
      wires.add(wire);
      const lane = (from: End, to: End): Lane => ({
        send: (frame, sent) => send(from, to, frame, sent),
        backlog: () => from.backlog,
        close: (code, reason) => close(from, to, code, reason),
        cut() {
          from.own ??= { code: 1006, reason: 'cut' };
          cut(from, to);
        },
      });
      for (const [i, end] of ends.entries()) {
        end.owner.onKilled(() => {
          end.state = 'closed';
          const other = ends[1 - i]!;
          // The kernel of a program that was killed resets its connections; that of a machine without power can't.
          if (dice.chance(0.7)) bring(end, () => finish(other, 1006, 'reset'));
        });
      }
      return {
        relayEnd: lane(ends[0], ends[1]),
        proxyEnd: lane(ends[1], ends[0]),
        attach: (direction, events) => void (ends[direction === 'toRelay' ? 0 : 1].events = events),
      };
    },
    reach: (signal, answers) =>
      new Promise((resolve, reject) => {
        const late = scheduler.after(DIAL_MS, () => reject(new Error('no answer in time')));
        signal.addEventListener('abort', () => reject(new Error('given up')), { once: true });
        const arrive = (): void => {
          if (stalled.toProxy || stalled.toRelay) return void scheduler.after(500, arrive);
          late.cancel();
          if (refusing || !answers()) reject(new Error('connection refused'));
          else resolve();
        };
        scheduler.after(latency(), arrive);
      }),
    cut: () => wires.forEach(reset),
    stall(direction) {
      if (direction !== 'toRelay') stalled.toProxy = true;
      if (direction !== 'toProxy') stalled.toRelay = true;
      if (direction === 'both') return;
      scheduler.after(ONE_WAY_MS, () => {
        if (stalled[direction]) stalled.toProxy = stalled.toRelay = true;
      });
    },
    refuse() {
      refusing = true;
      wires.forEach(reset);
    },
    heal(forgotten) {
      refusing = false;
      stalled.toProxy = stalled.toRelay = false;
      if (forgotten) return wires.forEach(reset);
      for (const { ends } of wires) {
        for (const end of ends) for (const task of end.waiting.splice(0)) bring(end, task);
      }
    },
  };
}
