import type { Milliseconds } from '../../../shared/clock.ts';

/**
 * What happened in a run, as seen from outside the product: what clients asked and were told, what lay on the wires,
 * what phones and the provisioning service heard and said, and what the outbox had committed. The history checker
 * reads nothing else.
 */
export type Fact =
  /** A relay has opened its store, at this wall time. */
  | { what: 'relay-began'; relay: string; store: string; run: number; wall: number }
  | { what: 'relay-listens'; relay: string; run: number }
  | { what: 'relay-ended'; relay: string; run: number; how: 'crash' | 'close' | 'storage' }
  /** The wall clock of a relay's machine was set, by so much. */
  | { what: 'clock-set'; relay: string; by: number }
  /** `store` begins as an older state of `from`. */
  | { what: 'store-restored'; store: string; from: string }
  /** What was committed since the last such fact. `old`: it is the history of a backup that was put back. */
  | {
      what: 'commit';
      relay: string;
      run: number;
      old: boolean;
      events: CommittedEvent[];
      counts: Counts;
      /** The newest messages with actions, as they stand; empty in runs without. */
      held: SeenActions[];
    }
  | { what: 'push-asked'; run: number; ask: number; push: AskedPush }
  | { what: 'push-accepted'; run: number; ask: number; message: SeenMessage; known: boolean }
  | { what: 'push-refused'; run: number; ask: number; code: string }
  | { what: 'held-by'; run: number; message: string; device: string; proxies: string[] }
  | { what: 'clear-asked'; run: number; ask: number; device: string; generation: number | null }
  | { what: 'cleared'; run: number; ask: number; ended: { id: string; generation: number }[] }
  | { what: 'cancel-asked'; run: number; id: string }
  | { what: 'redriven'; run: number; message: SeenMessage }
  | { what: 'redrive-refused'; run: number; id: string; code: string; state: string | null }
  /** Looked up after a restart. */
  | { what: 'looked-up'; run: number; id: string; state: string | null; generation: number | null }
  /** A control lane reached a proxy. */
  | { what: 'link-made'; proxy: string; link: string; run: number }
  | { what: 'link-over'; proxy: string; link: string }
  | { what: 'stream-lane'; proxy: string; link: string; open: boolean }
  /** A frame as a proxy was given it. */
  | { what: 'frame'; proxy: string; link: string; text: string }
  | { what: 'proxy-began'; proxy: string }
  | { what: 'proxy-ended'; proxy: string }
  | {
      what: 'poll';
      proxy: string;
      device: string;
      status: number;
      by: 'phone' | 'forger' | 'probe';
      /** What of the proxy's state was another afterwards; null = nothing. */
      changed: string | null;
    }
  /** A phone's request, as it left the phone. `run`: the relay that its connection led to; 0 = none. */
  | {
      what: 'phone-asked';
      nonce: string;
      session: string;
      device: string;
      reason: string;
      run: number;
      /** What it says to an action that the courier sent; null = nothing. */
      reply: ActionReply | null;
      /** What it says of a deployment that it has accepted before; null = nothing. */
      outcome: DeploymentOutcome | null;
    }
  /** What the phone has of the answer; `whole`: the phone takes it for complete. */
  | { what: 'phone-got'; nonce: string; status: number; body: Buffer; whole: boolean; ms: Milliseconds }
  | {
      what: 'service-heard';
      nonce: string;
      session: string;
      device: string;
      reason: string;
      status: string | null;
    }
  | { what: 'service-said'; nonce: string; session: string; answer: ServiceAnswer }
  | { what: 'service'; up: boolean }
  | { what: 'fault'; name: string }
  /** Faults, forgers and moody phones stop. */
  | { what: 'calm' };

export interface CommittedEvent {
  seq: number;
  device: string;
  message: string | null;
  generation: number;
  event: string;
  why: string;
}

export interface Counts {
  accepted: number;
  held: number;
  ended: Record<string, number>;
}

export interface AskedPush {
  device: string;
  /** Null = contact-me. */
  actions: AskedAction[] | null;
  /** Takes the place of older actions. */
  replace: boolean;
  key: string | null;
  /** What another push with the same key has to have in common. */
  content: string;
  ttl: Milliseconds;
  delay: Milliseconds;
}

/** One action that a phone is to do. */
export interface AskedAction {
  action: 'WriteItems' | 'ReadItems' | 'Restart' | 'FileDeployment' | 'SoftwareDeployment';
  /** Stands in the document that asks for it, and nowhere else. */
  tag: string;
}

/** A phone's word about an action that it was sent. */
export interface ActionReply {
  tag: string;
  /** `confused`: it answers something else than it was asked. */
  status: 'accepted' | 'failed' | 'busy' | 'confused';
  /** What it says the item is; null where it was not asked to tell. */
  value: string | null;
}

/** A phone's later word about a file or about software that it was to fetch. */
export interface DeploymentOutcome {
  tag: string;
  status: 'done' | 'failed';
}

/** A message with actions as its relay's outbox has it. */
export interface SeenActions {
  id: string;
  device: string;
  generation: number;
  state: string;
  /** As JSON; null = dropped, as the message has ended. */
  actions: string | null;
  /** As JSON. */
  results: string | null;
}

export interface SeenMessage {
  id: string;
  device: string;
  generation: number;
  state: string;
}

/** What the provisioning service answered. */
export interface ServiceAnswer {
  kind: ServiceWord;
  status: number;
  /** The whole body that it meant to send. */
  body: Buffer;
  /** Whether all of it was sent; false = the service broke off. */
  whole: boolean;
  thoughtMs: Milliseconds;
}

/** What a service says: the session goes on, or is over in one of the ways that a service knows. */
export type ServiceWord =
  | 'more'
  | 'done'
  | 'done-empty'
  | 'again'
  | 'overload'
  | 'refused'
  | 'no-nonce'
  | 'error'
  | 'busy-http'
  | 'file';

/** A breach of a promise. */
export interface Violation {
  /** `P1` to `P16` as docs/promises.md numbers them, `live` for liveness, `crash` for an error that nobody caught. */
  promise: string;
  why: string;
}

/** One part of the checker. */
export interface Judge {
  take(fact: Fact, now: Milliseconds, breach: (promise: string, why: string) => void): void;
  /** Whether nothing is left to wait for. */
  settled?(): boolean;
  /** The run is over, calm and at rest. */
  end?(now: Milliseconds, breach: (promise: string, why: string) => void): void;
}
