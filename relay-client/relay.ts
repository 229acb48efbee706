import type { Address } from '../shared/address.ts';
import { formatAddress } from '../shared/address.ts';
import { watchExpiry } from '../shared/certificates.ts';
import type { CertificateUse } from '../shared/certificates.ts';
import type { Clock } from '../shared/clock.ts';
import type { DeviceId } from '../shared/device-id.ts';
import { describeError, SallyportError } from '../shared/errors.ts';
import type { Log } from '../shared/log.ts';
import { pollSecretOf } from '../shared/poll-secret.ts';
import { createApi, presentTold } from './api/index.ts';
import { openBook, openCatcher } from './assembly/catching.ts';
import { endRelay } from './assembly/ending.ts';
import { startExpiry } from './assembly/expiry.ts';
import { healthOf } from './assembly/health.ts';
import type { HealthFrame } from './assembly/health.ts';
import { openLinks } from './assembly/links.ts';
import { connectParts } from './assembly/reactions.ts';
import { openServices } from './assembly/services.ts';
import { createView } from './assembly/view.ts';
import { MACHINE } from './assembly/world.ts';
import type { RelayWorld } from './assembly/world.ts';
import { createCampaigns } from './campaigns/campaigns.ts';
import type { RelayConfig } from './config.ts';
import { createCourier } from './courier/courier.ts';
import type { DeskChange, RelayView } from './desk.ts';
import { createRelayMetrics } from './metrics.ts';
import { countRefusals } from './outbox/count-refusals.ts';
import type { Outbox } from './outbox/outbox.ts';
import { databaseWarnings } from './outbox/postgres-trust.ts';
import { createPendingView } from './pending-view.ts';
import { createPollSource } from './poll-source.ts';
import { createPolls } from './polls.ts';
import { readToken } from './secrets.ts';
import { createFiguresOfProxies } from './series/proxy-figures.ts';
import type { PollRate } from './series/proxy-figures.ts';
import { createSeries } from './series/series.ts';
import { createSessions } from './sessions/sessions.ts';
import { createLookout } from './warnings/lookout.ts';
import { createRecentWarnings } from './warnings/recent.ts';
import { createWebhooks } from './webhooks/webhooks.ts';
import { POLL_OVERDUE_MS } from './why/phone.ts';

/** After this long a proxy that has yet to apply the end of some work hears that its session is over all the same. */
const TOLD_MS = 2_000;

export interface RelayOptions {
  /** Whether an outbox that is damaged is opened with what is readable of it; default false, it is refused. */
  acceptLoss?: boolean;
  clock: Clock;
  log: Log;
  software: string;
  /** Default: this machine's disk, network and randomness. */
  world?: RelayWorld;
}

/** Where a relay listens, each as `host:port`; null = not. */
export interface RelayAddresses {
  api: string | null;
  contactMe: string | null;
  /** In the place of devices with addresses of their own: their contact-me port, their web port, and that with TLS. */
  contactMeDevices: string | null;
  contactMeDevicesWeb: string | null;
  contactMeDevicesTls: string | null;
}

/** A running relay. */
export interface Relay {
  readonly outbox: Outbox;
  readonly view: RelayView;
  readonly addresses: RelayAddresses;
  /** Resolves with the reason when the outbox can no longer be trusted; whoever runs the relay must then end it. */
  readonly failed: Promise<Error>;
  /** Re-reads certificates and keys; rejects with what could not be used, which keeps the old ones. */
  reload(): Promise<void>;
  /** Tells the proxies, lets running sessions end for a while, then closes. */
  close(): Promise<void>;
}

/**
 * Starts a relay: opens the outbox, then the API and the catcher, then dials the proxies. Resolves once everything
 * listens; proxies that cannot be reached are dialled again for ever.
 *
 * @throws SallyportError when a file, a port or the outbox cannot be used; then nothing is left open
 */
export async function createRelay(config: RelayConfig, options: RelayOptions): Promise<Relay> {
  const opened: (() => Promise<void>)[] = [];
  try {
    return await open(config, options, opened);
  } catch (error) {
    for (const close of opened.reverse()) await close().catch(() => undefined);
    throw error;
  }
}

async function open(
  config: RelayConfig,
  options: RelayOptions,
  opened: (() => Promise<void>)[],
): Promise<Relay> {
  const { clock, log, software, world = MACHINE } = options;
  const { random } = world;
  const fraction = (): number => Buffer.from(random(4)).readUInt32BE() / 2 ** 32;
  const startedAt = clock.wall();
  const { promise: failed, resolve: fail } = Promise.withResolvers<Error>();
  const database = await databaseWarnings(config.outbox.postgres);
  for (const why of database) log.warn('the database is not safe on the way', { why });
  const stored = await world.openOutbox({
    ...config.outbox,
    relay: config.name,
    clock,
    random,
    log,
    limits: { messages: config.limits.held, perDevice: config.limits.held_per_device },
    acceptLoss: options.acceptLoss ?? false,
    onFatal: fail,
    onViolation: () => metrics.violated('P6'),
  });
  opened.push(() => stored.close());
  const outbox = countRefusals(stored, (code) => metrics.refused(code));
  const identity = await world.readIdentity(config, clock);
  const secretOf = (device: DeviceId): string => pollSecretOf(identity.pollSecrets[0], device);
  /** Whether an earlier run may have led phones: a session leaves a note there. */
  const resumed = outbox.sequence() > 0;
  const polls = createPolls(clock);
  const pending = createPendingView({ outbox, clock, log, onHeld: polls.forgetUnknown });
  opened.push(async () => pending.close());
  await pending.ready;

  const book = await openBook(config);
  if (book !== null) opened.push(() => book.close());

  const heardOf = (device: DeviceId): boolean =>
    pending.generation(device) > 0 || polls.last(device) !== null;
  const listeners = new Set<(change: DeskChange) => void>();
  const emit = (change: DeskChange): void => listeners.forEach((listener) => listener(change));

  const metrics = createRelayMetrics({
    outbox,
    links: () => links.states(),
    services: () => services.list(),
    running: () => sessions.count(),
    webhooks: () => webhooks,
    limit: config.limits.held,
    polling: () => polls.late(POLL_OVERDUE_MS),
    clock,
  });
  const recentWarnings = createRecentWarnings(clock);
  const lookout = createLookout({
    config: config.warnings,
    services: config.services.filter((service) => service.kind === 'wpi'),
    pending: (device) => pending.generation(device) > 0,
    pollSecretOf: secretOf,
    clock,
    log,
    count: metrics.warning,
    tell(warning) {
      recentWarnings.add(warning);
      emit({ type: 'warning', warning });
    },
  });
  opened.push(async () => lookout.close());

  const catcher = await openCatcher(config, {
    identity,
    book,
    outbox,
    onContact: lookout.contacted,
    log,
  });
  opened.push(async () => catcher?.close());

  // Sessions speak to the links, and links are told by sessions: each is asked only once all are made.
  const sessions = createSessions({
    outbox,
    pending,
    links: {
      quiet: (device, generation, ms) => links.quiet(device, generation, ms),
      loud: (device) => links.loud(device),
      gap: (device) => links.gap(device),
      told: () => links.heldBy(outbox.sequence(), TOLD_MS),
    },
    clock,
    log,
    deadAfterSessions: config.deadAfterSessions,
    metrics: metrics.sessions,
  });
  const courier = createCourier({
    config: config.courier,
    outbox,
    pending,
    clock,
    log,
    deadAfter: config.deadAfterSessions,
    metrics: metrics.courier,
  });
  opened.push(() => courier.close());
  const services = openServices(config, {
    sessions,
    lookout,
    catcher,
    book,
    courier,
    heardOf,
    resumed,
    secretOf,
    onWatcher: (watcher) => opened.push(async () => watcher.close()),
    metrics: metrics.services,
    clock,
    log,
    world,
  });
  opened.push(() => services.close());

  const health = (): HealthFrame => healthOf(services.list(), sessions.count());
  const proxyFigures = createFiguresOfProxies(clock);
  const links = openLinks(config, {
    software,
    identity,
    outbox,
    services,
    sessions,
    polls,
    lookout,
    heardOf,
    health,
    onMetrics(url, samples) {
      metrics.proxy(url, samples);
      proxyFigures.take(url, samples);
    },
    onWentBack: () => metrics.violated('P1'),
    clock,
    random: fraction,
    log,
    world,
  });
  opened.push(() => links.close());

  const pollRate = (): PollRate | null => proxyFigures.rate(links.states().map(({ url }) => url));
  const series = createSeries({
    polls: pollRate,
    held: async () => (await outbox.counts()).held,
    sessions: sessions.count,
    clock,
    log,
  });
  opened.push(async () => series.close());

  connectParts({
    config,
    links,
    services,
    sessions,
    lookout,
    polls,
    pending,
    series,
    health,
    emit,
    clock,
    log,
  });

  const certificates = (): CertificateUse[] =>
    services.list().flatMap((service) => service.certificate() ?? []);
  const certificateWatch = watchExpiry({ uses: certificates, clock, log });
  opened.push(async () => certificateWatch.cancel());

  const view = createView({
    config,
    version: software,
    startedAt,
    links,
    services,
    sessions,
    pending,
    polls,
    lookout,
    recentWarnings,
    proxyFigures,
    pollRate,
    series,
    certificates,
    database,
    secretOf,
    clock,
    onChange(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
  });

  const expiry = startExpiry({ outbox, clock, log });
  opened.push(async () => expiry.cancel());

  const campaigns = await createCampaigns({ outbox, clock, log });
  opened.push(() => campaigns.close());

  const webhooks = createWebhooks(config.webhooks, {
    directory: config.outbox.path,
    outbox,
    present: (entries) => presentTold(entries, outbox.message),
    clock,
    log,
    random: fraction,
  });
  const closeWebhooks = async (): Promise<void> =>
    void (await Promise.all(webhooks.map((webhook) => webhook.close())));
  opened.push(closeWebhooks);

  const pollSource =
    config.pollSource === null
      ? null
      : createPollSource({ config: config.pollSource, outbox, pending, clock, log });
  opened.push(async () => pollSource?.close());

  let api: Awaited<ReturnType<typeof createApi>> | null = null;
  if (config.api !== null) {
    api = await createApi({
      listen: config.api.listen,
      token: config.api.tokenFile === null ? null : readToken(config.api.tokenFile),
      hosts: config.api.hosts,
      outbox,
      view,
      campaigns,
      clock,
      log,
      metricsText: metrics.text,
    });
    const { close } = api;
    opened.push(() => close());
  }

  return {
    outbox,
    view,
    failed,
    addresses: {
      api: shown(api?.address),
      contactMe: shown(catcher?.listening),
      contactMeDevices: shown(catcher?.devices.contact),
      contactMeDevicesWeb: shown(catcher?.devices.web),
      contactMeDevicesTls: shown(catcher?.devices.tls),
    },
    async reload() {
      // Each for itself, so that one bad file keeps no other from being read.
      const results = await Promise.allSettled([services.reload(), (async () => catcher?.reload())()]);
      const failures = results.filter((result) => result.status === 'rejected');
      certificateWatch.look();
      if (failures.length === 0) return;
      throw new SallyportError('KEY_INVALID', failures.map(({ reason }) => describeError(reason)).join('; '));
    },
    close: () =>
      endRelay({
        links,
        services,
        sessions,
        clock,
        until: clock.monotonic() + config.limits.drain_s * 1000,
        doors: [() => pollSource?.close(), () => api?.close(), () => catcher?.close()],
        courier: courier.close,
        rest: [
          () => expiry.cancel(),
          campaigns.close,
          closeWebhooks,
          () => certificateWatch.cancel(),
          lookout.close,
          series.close,
          pending.close,
          () => book?.close(),
          () => outbox.close(),
        ],
      }),
  };
}

const shown = (address: Address | undefined | null): string | null =>
  address === undefined || address === null ? null : formatAddress(address);
