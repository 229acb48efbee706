import { randomBytes } from 'node:crypto';
import { isIPv4 } from 'node:net';
import { formatAddress } from '../shared/address.ts';
import type { Address } from '../shared/address.ts';
import { watchExpiry } from '../shared/certificates.ts';
import type { CertificateUse } from '../shared/certificates.ts';
import type { Clock, Milliseconds } from '../shared/clock.ts';
import type { DeviceId } from '../shared/device-id.ts';
import { describeError, isSallyportError, SallyportError } from '../shared/errors.ts';
import type { Log } from '../shared/log.ts';
import { pollPath, pollSecretOf } from '../shared/poll-secret.ts';
import type { RelayFrame } from '../shared/protocol.ts';
import type { AddressBook } from './addresses/book.ts';
import { openAddresses } from './addresses/open.ts';
import { parseAddressRange } from './addresses/range.ts';
import { createApi, presentTold } from './api/index.ts';
import { createCatcher } from './catcher/catcher.ts';
import type { Catcher } from './catcher/catcher.ts';
import type { RelayConfig } from './config.ts';
import { createCampaigns } from './campaigns/campaigns.ts';
import type { DeskChange, RelayView } from './desk.ts';
import { dialLane } from './links/dial.ts';
import type { DialTarget } from './links/dial.ts';
import { lastOnesFinished, sessionsFinished } from '../shared/finish.ts';
import type { DialLane } from './links/link.ts';
import { createLinks } from './links/links.ts';
import { createLookup } from './links/lookup.ts';
import { createRelayMetrics } from './metrics.ts';
import { countRefusals } from './outbox/count-refusals.ts';
import { openOutbox } from './outbox/open.ts';
import type { OutboxOptions } from './outbox/open.ts';
import type { Outbox } from './outbox/outbox.ts';
import { databaseWarnings } from './outbox/postgres-trust.ts';
import { createPendingView } from './pending-view.ts';
import { createPollSource } from './poll-source.ts';
import { createPolls } from './polls.ts';
import { dialTarget, readIdentity, readToken } from './secrets.ts';
import type { Identity } from './secrets.ts';
import { dialTcp } from './services/dial.ts';
import { createCourier } from './courier/courier.ts';
import { createServices } from './services/services.ts';
import type { Service } from './services/service.ts';
import { createSessions } from './sessions/sessions.ts';
import { createFiguresOfProxies } from './series/proxy-figures.ts';
import type { PollRate } from './series/proxy-figures.ts';
import { createSeries } from './series/series.ts';
import { pollSecretWarnings } from './teacher/poll-secret-fit.ts';
import { createTeacher } from './teacher/teacher.ts';
import { createLookout } from './warnings/lookout.ts';
import { createRecentWarnings } from './warnings/recent.ts';
import { createWebhooks } from './webhooks/webhooks.ts';
import { POLL_OVERDUE_MS } from './why.ts';
import { createWatcher } from './watcher/watcher.ts';

/** How often messages past their time are ended. Polls do not wait for it: marks expire by themselves. */
const EXPIRY_CHECK_MS: Milliseconds = 1_000;
/** After this long a proxy that has yet to apply the end of some work hears that its session is over all the same. */
const TOLD_MS: Milliseconds = 2_000;
/** Health is told to proxies at most this often. */
const HEALTH_MS: Milliseconds = 200;

/** What a relay reaches the world by, so that a simulation can be the world. */
export interface RelayWorld {
  random: (size: number) => Uint8Array;
  readIdentity: (config: RelayConfig, clock: Clock) => Promise<Identity>;
  openOutbox: (options: OutboxOptions) => Promise<Outbox>;
  dialLane: typeof dialLane;
  createLookup: typeof createLookup;
  /** Dials upstream without TLS. */
  dialTcp: typeof dialTcp;
}

const machine: RelayWorld = {
  random: (size) => randomBytes(size),
  readIdentity,
  openOutbox,
  dialLane,
  createLookup,
  dialTcp,
};

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
  const { clock, log, software, world = machine } = options;
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
  const pending = createPendingView({ outbox, clock, log });
  await pending.ready;

  const book = await openBook(config);
  if (book !== null) opened.push(() => book.close());

  const polls = createPolls(clock);
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

  let catcher: Catcher | null = null;
  if (config.contactMe !== null) {
    const { listen, advertise, devicePort, deviceWebPort, deviceTls } = config.contactMe;
    const secret = identity.catcherSecret;
    catcher = await createCatcher({
      listen,
      ...(advertise === null ? {} : { advertise }),
      secret,
      formerSecret: identity.formerCatcherSecret,
      outbox,
      ...(book === null
        ? {}
        : {
            devices: {
              port: devicePort,
              webPort: deviceWebPort,
              tls: deviceTls,
              deviceAt: book.deviceAt,
            },
          }),
      onContact: lookout.contacted,
      log,
    });
    const { close } = catcher;
    opened.push(() => close());
  }

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
  const services = createServices(config.services, {
    observer: (service) => {
      const { rewriteContactMe, teach = null } = service;
      return createWatcher({
        listener: { ...sessions, warn: lookout.warn },
        checkAnswer: lookout.answersOf(service),
        clock,
        random,
        log,
        contactMeAddress: (device) => (rewriteContactMe && catcher !== null ? catcher.address(device) : null),
        teacher:
          teach === null
            ? null
            : createTeacher({ items: teach, pollSecretOf: secretOf, clock, tell: sessions.taught }),
        known: heardOf,
        limits: { newDevicesPerMinute: config.limits.new_devices_per_minute },
        courier,
        resumed,
      });
    },
    addresses: ({ sourceAddresses = null }) =>
      sourceAddresses === null ? null : (book?.range(parseAddressRange(sourceAddresses)) ?? null),
    clock,
    log,
    metrics: metrics.services,
    dialTcp: world.dialTcp,
  });
  opened.push(() => services.close());

  const health = (): Extract<RelayFrame, { type: 'health' }> => ({
    type: 'health',
    ready: canServe(services.list()),
    sessions: sessions.count(),
    services: services.list().map((service) => ({ name: service.name, up: service.health().up })),
    courier: services.list().some(({ kind }) => kind === 'wpi'),
  });
  const proxyFigures = createFiguresOfProxies(clock);
  const links = createLinks({
    relay: config.name,
    site: config.site,
    software,
    services: config.services.map(({ name }) => name),
    blind: config.services.every(({ kind }) => kind === 'tcp'),
    pollSecrets: identity.pollSecrets,
    targets: config.proxies.map((proxy) => {
      const target = dialTarget(proxy, identity);
      const url = proxy.url.href.replace(/\/$/, '');
      const by =
        (to: DialTarget): DialLane =>
        (lane, events, signal) =>
          world.dialLane(to, lane, events, { signal });
      if (proxy.name === undefined) return { url, dial: by(target) };
      const { family, servers, interval, grace } = proxy.name;
      const name = proxy.url.hostname;
      return {
        url,
        dialAt: (address) => by({ ...target, address }),
        name: {
          name,
          lookup: world.createLookup(name, family, servers),
          interval,
          grace,
          most: config.limits.proxy_addresses,
        },
      };
    }),
    outbox,
    streamLanes: config.limits.stream_lanes,
    proxyLimits: {
      streamsPerMinute: config.limits.proxy_streams_per_minute,
      newDevicesPerMinute: config.limits.new_devices_per_minute,
      bytesPerSecond: config.limits.proxy_bytes_per_s,
    },
    heardOf,
    warn: lookout.warn,
    maxStreams: config.limits.lane_streams,
    clock,
    random: fraction,
    log,
    accept: services.accept,
    present: () => [
      ...sessions.quiets().map(({ device, generation, ms }) => quiet(device, generation, ms)),
      health(),
    ],
    onPolls(proxy, frame) {
      polls.take(proxy, frame);
      // Where phones reach the service by themselves, whether one came is not seen.
      if (links.states().some(({ url, direct }) => url === proxy && direct)) return;
      for (const { device, status, agoMs } of frame.polls) lookout.polled(device as DeviceId, status, agoMs);
    },
    onMetrics(url, samples) {
      metrics.proxy(url, samples);
      proxyFigures.take(url, samples);
    },
    onWentBack: () => metrics.violated('P1'),
  });
  opened.push(() => links.close());

  function pollRate(): PollRate | null {
    const told = links.states().flatMap(({ url }) => proxyFigures.of(url)?.polls ?? []);
    const sum = (key: keyof PollRate): number => told.reduce((all, rate) => all + rate[key], 0);
    return told.length === 0 ? null : { idle: sum('idle'), called: sum('called'), refused: sum('refused') };
  }
  const series = createSeries({
    polls: pollRate,
    held: async () => (await outbox.counts()).held,
    sessions: sessions.count,
    clock,
    log,
  });
  opened.push(async () => series.close());

  let healthDue = false;
  /** Sessions come and go by the hundred; proxies need the sum now and then. */
  function tellHealth(): void {
    if (healthDue) return;
    healthDue = true;
    clock.after(HEALTH_MS, () => {
      healthDue = false;
      links.health(health());
    });
  }
  const teaches = config.services.some((service) => service.kind === 'wpi' && service.teach != null);
  links.onChange((proxy) => {
    emit({ type: 'link', proxy });
    if (proxy.state === 'up') {
      for (const why of pollSecretWarnings(config.services, [proxy])) {
        log.warn('taught phones would poll in vain', { why });
      }
    }
    if (teaches && proxy.direct && proxy.state === 'up') {
      log.warn('nobody is taught at a direct site: its phones do not come through this relay', {
        proxy: proxy.url,
      });
    }
  });
  for (const service of services.list()) {
    service.onHealth((state) => {
      links.health(health());
      emit({ type: 'service', name: service.name, health: state });
    });
  }
  sessions.onChange(({ session, phase, outcome }) => {
    tellHealth();
    const { device } = session;
    if (device !== null) lookout.came(device);
    if (phase === 'ended') series.sessionEnded();
    else if (device !== null && session.reason === 'solicited') {
      const waited = pending.dueFor(device);
      if (waited !== null) series.pickedUp(waited);
    }
    if (device !== null && session.answered) {
      links.known(device);
      polls.forgetUnknown(device);
    }
    emit({ type: 'session', device, phase, outcome });
  });

  const certificates = (): CertificateUse[] =>
    services.list().flatMap((service) => service.certificate() ?? []);
  const certificateWatch = watchExpiry({ uses: certificates, clock, log });
  opened.push(async () => certificateWatch.cancel());

  const view: RelayView = {
    name: config.name,
    site: config.site,
    version: software,
    startedAt,
    proxies: links.states,
    services: () =>
      services.list().map((service) => ({
        name: service.name,
        kind: service.kind,
        health: service.health(),
        connections: service.connections(),
      })),
    certificates,
    misfits: () => [...database, ...pollSecretWarnings(config.services, links.states())],
    proxyFigures: proxyFigures.of,
    pollRate,
    pickups: series.pickups,
    series: series.points,
    recentWarnings: recentWarnings.list,
    lastPoll: polls.last,
    pollPath: (device) => (links.pollSecret() ? pollPath(secretOf(device), device) : null),
    warnings: lookout.of,
    devicesByPoll: (query) => polls.rank(query, (device) => pending.generation(device) > 0),
    unknownDevices: polls.unknown,
    session: sessions.session,
    sessions: sessions.count,
    quietUntil: sessions.quietUntil,
    heldBy: links.heldBy,
    onChange(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
  };

  const expiry = clock.every(EXPIRY_CHECK_MS, () => {
    void (async () => {
      const next = await outbox.nextExpiry();
      if (next !== null && next <= 0) await outbox.expire();
    })().catch((error: unknown) => {
      if (isSallyportError(error, 'OUTBOX_UNAVAILABLE')) return;
      log.error('expiry failed', { why: describeError(error) });
    });
  });

  const campaigns = await createCampaigns({
    outbox,
    clock,
    log,
    onChange: (campaign) => emit({ type: 'campaign', campaign }),
  });
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
    async close() {
      const until = clock.monotonic() + config.limits.drain_s * 1000;
      // While polls are 200 no session begins that a 202 has called for; those that run may take new connections.
      links.finish();
      const connections = (): number =>
        services.list().reduce((sum, service) => sum + service.connections(), 0);
      // Phones that start up meanwhile would keep us for ever: once those of now are served, a later one waits its turn.
      await sessionsFinished({ sessions: sessions.lasting(), connections }, clock, until);
      links.drain();
      await lastOnesFinished({ sessions: sessions.count, connections }, clock, until);
      // All at once: each may take its time, and in all there are only so many seconds.
      const draining = services.drain(Math.max(0, until - clock.monotonic()));
      await Promise.all([pollSource?.close(), api?.close(), catcher?.close(), draining]);
      await sessions.close();
      await courier.close();
      await links.close();
      await services.close();
      expiry.cancel();
      await campaigns.close();
      await closeWebhooks();
      certificateWatch.cancel();
      lookout.close();
      series.close();
      pending.close();
      await book?.close();
      await outbox.close();
    },
  };
}

/** The book of source addresses, beside the outbox and under its lock; null where no service wants any. */
async function openBook({ services, outbox, contactMe }: RelayConfig): Promise<AddressBook | null> {
  const upstreams = services.filter((service) => service.kind === 'wpi');
  const ranges = upstreams.flatMap(({ sourceAddresses = null }) => sourceAddresses ?? []);
  if (ranges.length === 0) return null;
  const taken = [
    ...upstreams.map(({ upstream }) => new URL(upstream).hostname),
    ...(contactMe === null ? [] : [contactMe.listen.host]),
  ];
  return openAddresses(outbox.path, [...new Set(ranges)], taken.filter(isIPv4));
}

const shown = (address: Address | undefined | null): string | null =>
  address === undefined || address === null ? null : formatAddress(address);

const quiet = (device: DeviceId, generation: number, ms: Milliseconds): RelayFrame => ({
  type: 'quiet',
  device,
  generation,
  ms,
});

/** A session could succeed while every `wpi` upstream answers; a relay with none depends on its `tcp` ones. */
function canServe(services: readonly Service[]): boolean {
  const wpi = services.filter(({ kind }) => kind === 'wpi');
  const needed = wpi.length > 0 ? wpi : services;
  return needed.length > 0 && needed.every((service) => service.health().up);
}
