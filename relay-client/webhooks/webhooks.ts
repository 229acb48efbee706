import type { Clock } from '../../shared/clock.ts';
import type { Log } from '../../shared/log.ts';
import type { HistoryEntry, Outbox } from '../outbox/outbox.ts';
import { DEFAULT_WEBHOOK_LIMITS } from './config.ts';
import type { WebhookConfig } from './config.ts';
import { createPlaceFile } from './place.ts';
import { createPoster } from './post.ts';
import { readSecret } from './signature.ts';
import { createWebhook } from './webhook.ts';
import type { Webhook } from './webhook.ts';

/**
 * Starts every webhook of the config.
 *
 * @param directory - where their places are kept: the outbox's
 * @throws SallyportError FILE_UNREADABLE: a secret, a place or authorities; then none is started
 */
export function createWebhooks(
  configs: readonly WebhookConfig[],
  parts: {
    directory: string;
    outbox: Outbox;
    present: (entries: readonly HistoryEntry[]) => Promise<object[]>;
    clock: Clock;
    log: Log;
    random: () => number;
  },
): readonly Webhook[] {
  const limits = DEFAULT_WEBHOOK_LIMITS;
  const ready = configs.map((config) => ({
    config,
    secret: readSecret(config.secretFile),
    place: createPlaceFile(parts.directory, config.name),
    poster: createPoster(config, limits),
  }));
  return ready.map((each) => createWebhook({ ...parts, ...each, limits }));
}
