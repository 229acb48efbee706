import type { Socket } from 'node:net';
import type { Milliseconds } from '../../../shared/clock.ts';
import { SallyportError } from '../../../shared/errors.ts';
import type { ServiceAnswer, ServiceWord } from '../checker/facts.ts';
import type { Dice } from '../engine/dice.ts';
import type { Process } from '../engine/process.ts';
import { SimulatedSocket } from '../engine/socket.ts';
import { attributeOf, contentOf, createHttpReader, httpText } from './http.ts';
import type { HttpMessage } from './http.ts';
import type { World } from './world.ts';

type Dialled = (error: SallyportError | null, socket: Socket | null) => void;

/** The provisioning service behind the relays. It knows nothing of them, and says what its dice tell it to. */
export interface Service {
  /** As the product's `dialTcp`. */
  dial(caller: Process, done: Dialled): () => void;
  goDown(how: 'refuse' | 'hang'): void;
  comeUp(): void;
}

/** The header by which the simulation knows a session, whatever cookies and connections say. The product passes it on. */
export const SESSION_HEADER = 'x-simulated-session';

interface Session {
  device: string;
  reason: string;
  status: string | null;
  /** Actions yet to come before the last word. */
  more: number;
  last: ServiceWord;
}

type LastWord = Exclude<ServiceWord, 'more' | 'file'>;

/** How sessions end while the service has its moods. */
const MOODS: Readonly<Record<LastWord, number>> = {
  done: 50,
  'done-empty': 12,
  again: 8,
  overload: 5,
  'busy-http': 4,
  refused: 8,
  'no-nonce': 4,
  error: 6,
};

export function createService(world: World, dice: Dice): Service {
  const { scheduler } = world;
  const sessions = new Map<string, Session>();
  const sockets = new Set<SimulatedSocket>();
  let down: 'refuse' | 'hang' | null = null;
  // Each run has moods of its own, so that what is rare on the whole comes often enough in a row somewhere.
  const moods = Object.fromEntries(
    Object.entries(MOODS).map(([word, weight]) => [
      word,
      weight * (word === 'done' ? 1 : dice.pick([0, 1, 1, 6])),
    ]),
  ) as Record<LastWord, number>;

  const moody = (): boolean => !world.calm();

  function answerTo(message: HttpMessage): { answer: ServiceAnswer; bytes: Buffer; nonce: string } {
    const session = message.headers.get(SESSION_HEADER) ?? '';
    const thoughtMs = moody() && dice.chance(0.1) ? dice.whole(1_000, 20_000) : dice.whole(1, 200);
    cookie = world.plan.cookies && !message.headers.has('cookie') ? session : null;
    if (message.line.startsWith('GET')) {
      const nonce = message.line.split(' ')[1]?.slice(1) ?? '';
      world.tell({ what: 'service-heard', nonce, session, device: '', reason: 'file', status: null });
      return reply(nonce, 'file', 200, Buffer.from(dice.bytes(64).toString().repeat(2_500)), thoughtMs);
    }
    const text = message.body.toString('utf8');
    const nonce = attributeOf(text, 'nonce') ?? '';
    const reason = contentOf(text, 'ReasonForContact') ?? '';
    const status = attributeOf(text, 'status');
    const known = sessions.get(session);
    const now = known ?? begin(session, message.headers.get('x-simulated-device') ?? '', reason);
    if (reason === 'reply-to') now.status = status;
    world.tell({ what: 'service-heard', nonce, session, device: now.device, reason, status });
    return say(now, nonce, reason, thoughtMs);
  }

  function begin(id: string, device: string, reason: string): Session {
    const besieged = moody() && world.plan.siege;
    const last = besieged ? 'again' : moody() ? dice.weighted(moods) : 'done';
    const session: Session = { device, reason, status: null, more: besieged ? 2 : dice.whole(0, 2), last };
    sessions.set(id, session);
    return session;
  }

  function say(session: Session, nonce: string, reason: string, thoughtMs: Milliseconds) {
    if (reason !== 'clean-up' && session.more > 0) {
      session.more -= 1;
      const item = `<Item name="realm">${dice.whole(1, 9).toString().repeat(dice.whole(1, 40))}</Item>`;
      return reply(nonce, 'more', 200, document(nonce, 'WriteItems', item), thoughtMs);
    }
    const { last } = session;
    switch (last) {
      case 'done-empty':
        return reply(nonce, last, dice.pick([200, 204]), Buffer.alloc(0), thoughtMs);
      case 'again':
        return reply(nonce, last, 200, cleanUp(nonce, '<Item name="send-solicited">true</Item>'), thoughtMs);
      case 'overload':
        return reply(
          nonce,
          last,
          200,
          cleanUp(nonce, '<Item name="cleanup-reason">overload</Item>'),
          thoughtMs,
        );
      case 'refused':
        return reply(
          nonce,
          last,
          200,
          cleanUp(nonce, '<Item name="cleanup-reason">go away</Item>'),
          thoughtMs,
        );
      case 'no-nonce':
        return reply(nonce, last, 200, cleanUp('', ''), thoughtMs);
      case 'error':
        return reply(nonce, last, 500, Buffer.from('sorry'), thoughtMs);
      case 'busy-http':
        return reply(nonce, last, 503, Buffer.from('later'), thoughtMs);
      default:
        return reply(nonce, 'done', 200, cleanUp(nonce, ''), thoughtMs);
    }
  }

  /** The cookie to set with the answer at hand; null = none. */
  let cookie: string | null = null;

  function reply(nonce: string, kind: ServiceWord, status: number, body: Buffer, thoughtMs: Milliseconds) {
    const headers: Record<string, string> = {
      'Content-Type': 'text/xml',
      ...(status === 204 ? {} : { 'Content-Length': String(body.length) }),
    };
    if (cookie !== null) headers['Set-Cookie'] = `JSESSIONID=${cookie}; Path=/`;
    const bytes = httpText(`HTTP/1.1 ${status} Said`, headers, body);
    const answer: ServiceAnswer = { kind, status, body, whole: true, thoughtMs };
    return { answer, bytes, nonce };
  }

  function serve(socket: SimulatedSocket): void {
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
    const reader = createHttpReader((message) => {
      const { answer, bytes, nonce } = answerTo(message);
      const session = message.headers.get(SESSION_HEADER) ?? '';
      scheduler.after(answer.thoughtMs, () => {
        if (socket.destroyed) return;
        const cut = moody() && dice.chance(0.05);
        answer.whole = !cut;
        world.tell({ what: 'service-said', nonce, session, answer });
        if (!cut) return void socket.write(bytes);
        socket.write(bytes.subarray(0, dice.whole(0, bytes.length - 1)));
        scheduler.after(dice.whole(0, 50), () => socket.destroy());
      });
    });
    socket.on('data', (bytes: Buffer) => reader.take(bytes));
    socket.on('end', () => socket.end());
  }

  return {
    dial(caller, done) {
      let over = false;
      const settle = (error: SallyportError | null, socket: SimulatedSocket | null): void => {
        if (over) return void socket?.destroy();
        over = true;
        late.cancel();
        caller.enter(() => done(error, socket as unknown as Socket | null));
      };
      const late = scheduler.after(10_000, () =>
        settle(new SallyportError('UPSTREAM_TIMEOUT', 'the service took no connection'), null),
      );
      scheduler.after(dice.whole(1, 10), () => {
        if (down === 'hang') return;
        if (down === 'refuse') {
          return settle(new SallyportError('UPSTREAM_REFUSED', 'the service refused the connection'), null);
        }
        const [near, far] = SimulatedSocket.pair(scheduler, dice.whole(1, 10), [caller, null]);
        caller.onKilled(() => near.destroy());
        serve(far);
        settle(null, near);
      });
      return () => {
        over = true;
        late.cancel();
      };
    },
    goDown(how) {
      down = how;
      for (const socket of [...sockets]) socket.destroy();
      world.tell({ what: 'service', up: false });
    },
    comeUp() {
      if (down === null) return;
      down = null;
      world.tell({ what: 'service', up: true });
    },
  };
}

function document(nonce: string, action: string, items: string): Buffer {
  const list = items === '' ? '' : `<ItemList>${items}</ItemList>`;
  return Buffer.from(
    `<?xml version="1.0" encoding="utf-8"?>\n<DLSMessage xmlns="http://www.siemens.com/DLS"><Message nonce="${nonce}"><Action>${action}</Action>${list}</Message></DLSMessage>\n`,
  );
}

const cleanUp = (nonce: string, items: string): Buffer => document(nonce, 'CleanUp', items);
