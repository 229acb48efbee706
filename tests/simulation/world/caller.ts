import type { Milliseconds } from '../../../shared/clock.ts';
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
  nonce: string;
}

/** How a phone, or one who plays one, behaves in a session. */
export interface Manners {
  /** What the replies say. */
  status: 'accepted' | 'busy';
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
/** Messages after which a session is given up. */
const MESSAGES = 8;

/** Speaks to a session door as a phone does. */
export interface Caller {
  /** Holds one session; resolves when it is over, to whether the service has ended it. */
  session(reason: string, manners: Manners): Promise<boolean>;
  /** Downloads a file; resolves when it has all, or has been cut off. @param stallMs - reads nothing for so long first */
  download(stallMs: Milliseconds): Promise<void>;
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

  interface Line {
    socket: SimulatedSocket;
    ask(nonce: string, bytes: Buffer): Promise<HttpMessage | null>;
  }

  function connect(): Line | null {
    const [phone, door] = SimulatedSocket.pair(scheduler, dice.whole(1, 60), [null, proxy.process()]);
    if (!proxy.connect(door, address)) {
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

  async function say(reason: string, action: string | null, status: string): Promise<Got | null> {
    line ??= connect();
    if (line === null) return null;
    const nonce = nextNonce();
    const about = action === null ? '' : ` action="${action}" status="${status}"`;
    const items =
      reason === 'reply-to' || reason === 'clean-up'
        ? ''
        : `<ItemList><Item name="mac-addr">${device.toUpperCase()}</Item></ItemList>`;
    const text = `<?xml version="1.0" encoding="utf-8"?>\n<WorkpointMessage xmlns="http://www.siemens.com/DLS"><Message nonce="${nonce}" maxItems="-1"><ReasonForContact${about}>${reason}</ReasonForContact>${items}</Message></WorkpointMessage>\n`;
    world.tell({ what: 'phone-asked', nonce, session: id, device, reason });
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
      nonce: attributeOf(body, 'nonce') ?? '',
    };
  }

  const hangUp = (): void => {
    line?.socket.end();
    line = null;
  };

  return {
    async session(reason, manners) {
      let got: Got | null;
      for (let number = 0; number < MESSAGES; number++) {
        if (number === manners.leavesAt) {
          const leave = line ?? connect();
          void say(number === 0 ? reason : 'reply-to', number === 0 ? null : 'WriteItems', 'accepted');
          await scheduler.sleep(dice.whole(0, 300));
          leave?.socket.destroy();
          return false;
        }
        if (number === manners.fallsSilentAt) {
          await scheduler.sleep(SILENCE_MS);
          hangUp();
          return false;
        }
        if (number === 0) got = await say(reason, null, '');
        else if (number === manners.cleansUpAt) got = await say('clean-up', null, '');
        else got = await say('reply-to', 'WriteItems', manners.status);
        if (got === null || got.status !== 200 || got.action !== 'WriteItems') {
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
      world.tell({ what: 'phone-asked', nonce, session: id, device, reason: 'file' });
      if (stallMs > 0) {
        own.socket.pause();
        scheduler.after(stallMs, () => own.socket.resume());
      }
      await own.ask(nonce, request(`/${nonce}`, 'GET', Buffer.alloc(0)));
      own.socket.destroy();
    },
  };
}
