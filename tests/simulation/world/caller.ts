import type { Milliseconds } from '../../../shared/clock.ts';
import type { ActionReply, DeploymentOutcome } from '../checker/facts.ts';
import type { Dice } from '../engine/dice.ts';
import { SimulatedSocket } from '../engine/socket.ts';
import { attributeOf, contentOf, createHttpReader, httpText } from './http.ts';
import type { HttpMessage } from './http.ts';
import type { ProxyPlace } from './proxy.ts';
import { SESSION_HEADER } from './service.ts';
import type { World } from './world.ts';

/** What came of one request. */
export interface Got {
  status: number;
  body: Buffer;
  /** The Action that it holds; null where it holds none. */
  action: string | null;
  /** Names the action where it is one that a client has pushed; null = it is the service's. */
  tag: string | null;
  nonce: string;
}

/** What a phone says to an action. */
interface Reply {
  action: string;
  status: string;
  /** Items, as they stand in the message. */
  items: string;
  told: ActionReply | null;
}

const NO_ITEMS = { items: '', told: null };
const TAG = /\bt\d+-\d+\b/;
const SERVED: ReadonlySet<string | null> = new Set([
  'WriteItems',
  'ReadItems',
  'Restart',
  'FileDeployment',
  'SoftwareDeployment',
]);
const DEPLOYMENTS: ReadonlySet<string | null> = new Set(['FileDeployment', 'SoftwareDeployment']);

/** How a phone, or one who plays one, behaves in a session. */
export interface Manners {
  /** What the replies say. */
  status: 'accepted' | 'busy';
  /** What they say of actions that the relay itself has sent, in place of `accepted`. */
  ofActions: 'accepted' | 'failed' | 'confused';
  /** Before each reply. */
  thinkMs: () => Milliseconds;
  /** Goes away in the middle of the exchange with this number; Infinity = never. */
  leavesAt: number;
  /** Says its own clean-up in place of the reply with this number; Infinity = never. */
  cleansUpAt: number;
  /** From the reply with this number on it says nothing more, and stays; Infinity = never. */
  fallsSilentAt: number;
  /** Makes a new connection for each message. */
  reconnects: boolean;
}

export const POLITE: Manners = {
  status: 'accepted',
  ofActions: 'accepted',
  thinkMs: () => 20,
  leavesAt: Infinity,
  cleansUpAt: Infinity,
  fallsSilentAt: Infinity,
  reconnects: false,
};

/** How long a phone waits for an answer. */
const PATIENCE_MS: Milliseconds = 90_000;
/** How long one that has fallen silent keeps its connection. */
const SILENCE_MS: Milliseconds = 400_000;
/** How a phone says how a deployment came out: a file by a session of its own, software by what it runs at its start. */
function outcomeItems(reason: string, outcome: DeploymentOutcome | null): string {
  if (outcome === null) return '';
  if (reason === 'start-up') return `<Item name="software-version">${outcome.tag}</Item>`;
  const status = outcome.status === 'done' ? 'ok' : 'failed';
  return `<Item name="file-deployment-name">${outcome.tag}</Item><Item name="file-deployment-status">${status}</Item>`;
}

/** Messages after which a session is given up. */
const MESSAGES = 8;

/** Speaks to a session door as a phone does. */
export interface Caller {
  /**
   * Holds one session; resolves when it is over, to whether the service has ended it.
   *
   * @param outcome - what its first message says of a deployment
   */
  session(reason: string, manners: Manners, outcome?: DeploymentOutcome): Promise<boolean>;
  /** Downloads a file; resolves when it has all, or has been cut off. @param stallMs - reads nothing for so long first */
  download(stallMs: Milliseconds): Promise<void>;
  /** Whether it was asked to restart, and said that it would. */
  restarts(): boolean;
  /** What it was asked to fetch, and said that it would; null = nothing. */
  fetches(): { action: string; tag: string } | null;
}

/** @param device - whom it says that it is */
export function createCaller(
  world: World,
  options: { device: string; proxy: ProxyPlace; dice: Dice; address: string },
): Caller {
  const { device, proxy, dice, address } = options;
  const { scheduler } = world;
  const id = `s${world.nextSession()}`;
  let cookie: string | null = null;
  let line: Line | null = null;
  let restarts = false;
  let fetches: { action: string; tag: string } | null = null;

  interface Line {
    socket: SimulatedSocket;
    run: number;
    ask(nonce: string, bytes: Buffer): Promise<HttpMessage | null>;
  }

  function connect(): Line | null {
    const [phone, door] = SimulatedSocket.pair(scheduler, dice.whole(1, 60), [null, proxy.process()]);
    const run = proxy.connect(door, address);
    if (run === null) {
      phone.destroy();
      return null;
    }
    let waiting: { nonce: string; asked: Milliseconds; resolve(message: HttpMessage | null): void } | null =
      null;
    const got = (status: number, body: Buffer, whole: boolean): void => {
      if (waiting === null) return;
      const { nonce, asked } = waiting;
      world.tell({ what: 'phone-got', nonce, status, body, whole, ms: scheduler.now() - asked });
    };
    const settle = (message: HttpMessage | null): void => {
      const { resolve } = waiting ?? { resolve: () => undefined };
      waiting = null;
      resolve(message);
    };
    const reader = createHttpReader((message) => {
      got(Number(message.line.split(' ')[1]), message.body, true);
      settle(message);
    });
    phone.on('data', (bytes: Buffer) => reader.take(bytes));
    const over = (): void => {
      const partial = reader.partial();
      if (partial !== null) got(Number(partial.line.split(' ')[1]), partial.body, false);
      settle(null);
    };
    phone.on('end', () => {
      over();
      phone.end();
    });
    phone.on('close', over);
    return {
      socket: phone,
      run,
      ask: (nonce, bytes) =>
        new Promise((resolve) => {
          if (phone.destroyed || phone.readableEnded) return resolve(null);
          const late = scheduler.after(PATIENCE_MS, () => phone.destroy());
          waiting = {
            nonce,
            asked: scheduler.now(),
            resolve(message) {
              late.cancel();
              resolve(message);
            },
          };
          phone.write(bytes);
        }),
    };
  }

  const nextNonce = (): string => Buffer.from(dice.bytes(16)).toString('hex').toUpperCase();

  const request = (target: string, method: string, body: Buffer): Buffer =>
    httpText(
      `${method} ${target} HTTP/1.1`,
      {
        Host: 'dls:18443',
        [SESSION_HEADER]: id,
        'x-simulated-device': device,
        ...(method === 'POST' ? { 'Content-Length': String(body.length) } : {}),
        ...(cookie === null ? {} : { Cookie: cookie }),
      },
      body,
    );

  async function say(
    reason: string,
    reply: Reply | null,
    outcome: DeploymentOutcome | null = null,
  ): Promise<Got | null> {
    line ??= connect();
    if (line === null) return null;
    const nonce = nextNonce();
    const about = reply === null ? '' : ` action="${reply.action}" status="${reply.status}"`;
    const items =
      reason === 'reply-to' || reason === 'clean-up'
        ? (reply?.items ?? '')
        : `<ItemList><Item name="mac-addr">${device.toUpperCase()}</Item>${outcomeItems(reason, outcome)}</ItemList>`;
    const text = `<?xml version="1.0" encoding="utf-8"?>\n<WorkpointMessage xmlns="http://www.siemens.com/DLS"><Message nonce="${nonce}" maxItems="-1"><ReasonForContact${about}>${reason}</ReasonForContact>${items}</Message></WorkpointMessage>\n`;
    const { run } = line;
    const told = reply?.told ?? null;
    world.tell({ what: 'phone-asked', nonce, session: id, device, reason, run, reply: told, outcome });
    const answer = await line.ask(
      nonce,
      request('/DeploymentService/LoginService', 'POST', Buffer.from(text)),
    );
    if (answer === null) {
      line = null;
      return null;
    }
    cookie = answer.headers.get('set-cookie')?.split(';')[0] ?? cookie;
    const body = answer.body.toString('utf8');
    if (answer.headers.get('connection') === 'close') line = null;
    return {
      status: Number(answer.line.split(' ')[1]),
      body: answer.body,
      action: contentOf(body, 'Action'),
      tag: TAG.exec(body)?.[0] ?? null,
      nonce: attributeOf(body, 'nonce') ?? '',
    };
  }

  function replyTo(got: Got | null, { status, ofActions }: Manners): Reply {
    const action = got?.action ?? 'WriteItems';
    const tag = got?.tag ?? null;
    if (tag === null) return { action, status, ...NO_ITEMS };
    if (status === 'busy') return { action, status, items: '', told: { tag, status, value: null } };
    if (ofActions === 'confused') {
      return { action: 'ReadAllItems', status, items: '', told: { tag, status: 'confused', value: null } };
    }
    const tells = action === 'ReadItems' && ofActions === 'accepted';
    const value = tells ? `v${dice.whole(0, 999_999)}` : null;
    const items = tells ? `<ItemList><Item name="r-${tag}">${value}</Item></ItemList>` : '';
    return { action, status: ofActions, items, told: { tag, status: ofActions, value } };
  }

  const hangUp = (): void => {
    line?.socket.end();
    line = null;
  };

  return {
    async session(reason, manners, outcome) {
      let got: Got | null = null;
      for (let number = 0; number < MESSAGES; number++) {
        if (number === manners.leavesAt) {
          const leave = line ?? connect();
          if (number === 0) void say(reason, null);
          else void say('reply-to', replyTo(got, { ...manners, status: 'accepted' }));
          await scheduler.sleep(dice.whole(0, 300));
          leave?.socket.destroy();
          return false;
        }
        if (number === manners.fallsSilentAt) {
          await scheduler.sleep(SILENCE_MS);
          hangUp();
          return false;
        }
        if (number === 0) got = await say(reason, null, outcome);
        else if (number === manners.cleansUpAt) got = await say('clean-up', null);
        else got = await say('reply-to', replyTo(got, manners));
        if (got?.action === 'Restart' && manners.status !== 'busy') restarts = true;
        const accepts = manners.status !== 'busy' && manners.ofActions === 'accepted';
        if (accepts && got?.tag != null && DEPLOYMENTS.has(got.action))
          fetches = { action: got.action ?? '', tag: got.tag };
        if (got === null || got.status !== 200 || !SERVED.has(got.action)) {
          hangUp();
          return got !== null && got.status < 300;
        }
        await scheduler.sleep(manners.thinkMs());
        if (manners.reconnects) hangUp();
      }
      hangUp();
      return false;
    },
    async download(stallMs) {
      const own = connect();
      if (own === null) return;
      const nonce = nextNonce();
      const { run } = own;
      world.tell({
        what: 'phone-asked',
        nonce,
        session: id,
        device,
        reason: 'file',
        run,
        reply: null,
        outcome: null,
      });
      if (stallMs > 0) {
        own.socket.pause();
        scheduler.after(stallMs, () => own.socket.resume());
      }
      await own.ask(nonce, request(`/${nonce}`, 'GET', Buffer.alloc(0)));
      own.socket.destroy();
    },
    restarts: () => restarts,
    fetches: () => fetches,
  };
}
