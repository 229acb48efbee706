import { createHmac, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { IncomingHttpHeaders, OutgoingHttpHeaders } from 'node:http';
import type { AddressInfo } from 'node:net';
import { systemClock } from '../../../shared/clock.ts';
import type { Clock } from '../../../shared/clock.ts';
import type { DeviceId } from '../../../shared/device-id.ts';
import { silentLog } from '../../../shared/log.ts';
import { createModelOutbox } from '../../../relay-client/outbox/model.ts';
import type { Outbox, OutboxLimits } from '../../../relay-client/outbox/outbox.ts';
import { DEFAULT_WEBHOOK_EVENTS, DEFAULT_WEBHOOK_LIMITS } from '../../../relay-client/webhooks/config.ts';
import type { WebhookConfig, WebhookLimits } from '../../../relay-client/webhooks/config.ts';
import { createPlaceFile } from '../../../relay-client/webhooks/place.ts';
import { createPoster } from '../../../relay-client/webhooks/post.ts';
import { createWebhook } from '../../../relay-client/webhooks/webhook.ts';
import type { Webhook } from '../../../relay-client/webhooks/webhook.ts';

export const SECRET = Buffer.from('a secret of enough bytes');
export const DEVICE = '00:1a:e8:00:00:01' as DeviceId;

type Answer = number | { status: number; headers: OutgoingHttpHeaders };
type Tap = { teardown(task: () => unknown): unknown; testdir(files: Record<string, string>): string };

/** A request as the receiver got it. */
export interface Got {
  headers: IncomingHttpHeaders;
  body: string;
  events: { seq: number; event: string; device: string; message: string | null }[];
}

/** A receiver of webhooks over real HTTP, and an outbox whose events it is told of. */
export async function setUp(t: Tap, answer: (tries: number) => Answer = () => 204) {
  const got: Got[] = [];
  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      const body = Buffer.concat(chunks).toString('utf8');
      const { events } = JSON.parse(body) as Pick<Got, 'events'>;
      got.push({ headers: request.headers, body, events });
      const said = answer(got.length);
      const { status, headers } = typeof said === 'number' ? { status: said, headers: {} } : said;
      response.writeHead(status, headers).end();
      server.emit('told');
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => {
    server.close();
    server.closeAllConnections();
  });
  const { port } = server.address() as AddressInfo;
  const directory = t.testdir({});
  return {
    got,
    directory,
    async times(count: number): Promise<void> {
      while (got.length < count) await once(server, 'told');
    },
    outbox: (limits: Partial<OutboxLimits> = {}): Outbox =>
      createModelOutbox({ clock: systemClock, random: (size) => randomBytes(size), limits }),
    /** A webhook that leads to the receiver; each one goes on at the place of the last. */
    start(
      outbox: Outbox,
      options: {
        events?: WebhookConfig['events'];
        limits?: Partial<WebhookLimits>;
        clock?: Clock;
        path?: string;
      } = {},
    ): Webhook {
      const limits = { ...DEFAULT_WEBHOOK_LIMITS, firstWaitMs: 5, longestWaitMs: 20, ...options.limits };
      const config: WebhookConfig = {
        name: 'tickets',
        url: new URL(options.path ?? '/hook', `http://127.0.0.1:${port}`),
        secretFile: '',
        events: options.events ?? DEFAULT_WEBHOOK_EVENTS,
        caFile: null,
      };
      const webhook = createWebhook({
        config,
        secret: SECRET,
        outbox,
        present: (entries) => Promise.resolve([...entries]),
        poster: createPoster(config, limits),
        place: createPlaceFile(directory, config.name),
        clock: options.clock ?? systemClock,
        log: silentLog,
        random: () => 0.5,
        limits,
      });
      t.teardown(() => webhook.close());
      return webhook;
    },
  };
}

/** What the signature should be, reckoned from the specification alone. */
export function expectedSignature({ headers, body }: Got): string {
  const signed = `${String(headers['webhook-id'])}.${String(headers['webhook-timestamp'])}.${body}`;
  return `v1,${createHmac('sha256', SECRET).update(signed).digest('base64')}`;
}
