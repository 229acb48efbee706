import { fileSha256 } from '../fixtures/services/index.ts';
import type { Gate, Owner } from '../fixtures/gate.ts';
import { createDialer, createFleet, download, macAfter, pollOnce, pollRequest } from '../phones/index.ts';
import type { FleetStats } from '../phones/index.ts';

/** What the load was told, to be held against what there is in the end. */
export interface Told {
  /** Messages that a push was answered 201 with. */
  accepted: string[];
  /** Pushes that were not: the relay was away or refused. */
  refused: number;
  downloads: { whole: number; cut: number };
  /** Polls of devices that have nothing pending. */
  idlePolls: number;
  /** What must never be; empty if all is well. */
  wrong: string[];
}

export interface Load {
  readonly told: Told;
  fleet(): FleetStats;
  /** No more pushes and downloads; phones poll on. */
  calm(): Promise<void>;
  end(): Promise<void>;
}

const FIRST_MAC = '00:1A:E8:60:00:01';
/** Nothing is ever pushed to these. */
const FIRST_IDLE = '00:1A:E8:61:00:01';
const IDLE_DEVICES = 50;
const POLL_MS = 2_000;
const PUSH_MS = 40;
const IDLE_POLL_MS = 10;
const DOWNLOAD_MS = 500;
const FILE_BYTES = 1024 * 1024;
const WRITE = { action: 'WriteItems', items: { realm: 'soak' } } as const;

/** Polls, pushes, sessions and downloads, all at once, until told otherwise. */
export async function startLoad(owner: Owner, gate: Gate, phones: number): Promise<Load> {
  const told: Told = { accepted: [], refused: 0, downloads: { whole: 0, cut: 0 }, idlePolls: 0, wrong: [] };
  const wrong = (what: string): void => void (told.wrong.length < 100 && told.wrong.push(what));
  const sha256 = await fileSha256('soak.app', FILE_BYTES);
  let pushing = true;
  let polling = true;
  const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

  const fleet = createFleet({
    count: phones,
    firstMac: FIRST_MAC,
    service: gate.phoneService,
    pollUrl: gate.pollUrl,
    pollIntervalMs: POLL_MS,
    concurrency: 128,
  });
  owner.teardown(() => fleet.close());
  const dialer = createDialer();
  owner.teardown(() => dialer.close());

  async function push(): Promise<void> {
    for (let n = 0; pushing; n += 1) {
      const device = macAfter(FIRST_MAC, Math.floor(Math.random() * phones));
      void gate.service.enqueue(device, [WRITE]);
      const answer = await gate.call('POST', `/v1/devices/${device}/messages`, {}).catch(() => null);
      if (answer?.status === 201) told.accepted.push(String(answer.body['id']));
      else told.refused += 1;
      await pause(PUSH_MS);
    }
  }

  async function pollIdle(): Promise<void> {
    for (let n = 0; polling; n += 1) {
      const device = macAfter(FIRST_IDLE, n % IDLE_DEVICES);
      const { status } = await pollOnce(dialer, pollRequest(gate.pollUrl, device), () => performance.now());
      told.idlePolls += 1;
      if (status === 202) wrong(`a poll of ${device}, which has nothing pending, was answered 202`);
      await pause(IDLE_POLL_MS);
    }
  }

  async function downloads(): Promise<void> {
    while (pushing) {
      const got = await download(dialer, `${gate.phoneService}/file/soak.app?size=${FILE_BYTES}`);
      if (got.status === 200 && got.reason === undefined) {
        told.downloads.whole += 1;
        if (got.bytes !== FILE_BYTES)
          wrong(`a download looked whole after ${got.bytes} of ${FILE_BYTES} bytes`);
        else if (got.sha256 !== sha256) wrong('a download came with other bytes than were sent');
      } else told.downloads.cut += 1;
      await pause(DOWNLOAD_MS);
    }
  }

  await fleet.start();
  const busy = [push(), downloads()];
  const idle = pollIdle();
  return {
    told,
    fleet: () => fleet.stats(),
    async calm() {
      pushing = false;
      await Promise.all(busy);
    },
    async end() {
      polling = false;
      await idle;
      await fleet.close();
    },
  };
}
