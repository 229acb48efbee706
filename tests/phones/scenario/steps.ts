/** Does one step of a scenario. */
import { readFileSync } from 'node:fs';
import type { Phone } from '../phone.ts';
import { differences } from './expect.ts';
import type { Group } from './groups.ts';
import { groupsOf } from './load.ts';
import type { Scenario, Step } from './schema.ts';

/** Calls of the API that run at a time. */
const API_CALLS = 16;
const ANSWER_MS = 20_000;
/** Between two looks whether an expectation has come true. */
const LOOK_MS = 20;

export type Stage = {
  scenario: Scenario;
  groups: ReadonlyMap<string, Group>;
  /** Aborted when the scenario is to end. */
  signal: AbortSignal;
};

/** @returns what failed, in words. @throws what kept the step from being done */
export async function doStep(step: Step, stage: Stage): Promise<string[]> {
  const groups = groupsIn(step, stage);
  const phones = groups.flatMap((group) => group.phones);
  switch (step.verb) {
    case 'start':
      await Promise.all(groups.map(({ fleet }) => fleet.start()));
      return idle(phones);
    case 'poll':
      if (typeof step.with === 'object' && 'until' in step.with)
        return pollUntil(phones, step.with, stage.signal);
      await Promise.all(phones.map((phone) => phone.pollNow()));
      return idle(phones);
    case 'restart':
      await Promise.all(phones.map((phone) => phone.restart()));
      return idle(phones);
    case 'change':
      await Promise.all(phones.map((phone) => phone.changeLocally(step.with.items)));
      return idle(phones);
    case 'call':
    case 'hang_up':
      for (const phone of phones) phone.setInCall(step.verb === 'call');
      return idle(phones);
    case 'push':
      return forEach(phones, ({ deviceId }) => askApi(stage, 'POST', `${messagesOf(deviceId)}?wait=proxy`));
    case 'clear':
      return forEach(phones, ({ deviceId }) => askApi(stage, 'DELETE', messagesOf(deviceId)));
    case 'pause':
      await pause(step.with * 1000, stage.signal);
      return [];
    case 'request':
      return request(step.with, stage.signal);
    case 'expect':
      return expectations(groups, step.with, stage.signal);
  }
}

function groupsIn(step: Step, { groups }: Stage): Group[] {
  const names = groupsOf(step);
  if (names.includes('all')) return [...groups.values()];
  return [...new Set(names)].flatMap((name) => groups.get(name) ?? []);
}

/** Waits until no session runs. */
async function idle(phones: readonly Phone[]): Promise<string[]> {
  await Promise.all(phones.map((phone) => phone.idle()));
  return [];
}

/** Polls with each phone until it is told that status; a session that it is told to open is waited for. */
async function pollUntil(
  phones: readonly Phone[],
  { until, within_s: limit }: { until: number; within_s: number },
  signal: AbortSignal,
): Promise<string[]> {
  const deadline = performance.now() + limit * 1000;
  const failures = await Promise.all(
    phones.map(async (phone) => {
      for (;;) {
        const { status, reason } = await phone.pollNow();
        await phone.idle();
        if (status === until) return [];
        if (performance.now() >= deadline || signal.aborted) {
          return [`${phone.deviceId} was last told ${status ?? reason}, not ${until}`];
        }
        await pause(LOOK_MS, signal);
      }
    }),
  );
  return failures.flat();
}

const messagesOf = (deviceId: string): string => `/v1/devices/${encodeURIComponent(deviceId)}/messages`;

async function forEach(
  phones: readonly Phone[],
  ask: (phone: Phone) => Promise<string | null>,
): Promise<string[]> {
  const left = [...phones];
  const failures = new Set<string>();
  const work = async (): Promise<void> => {
    for (let phone = left.shift(); phone !== undefined; phone = left.shift()) {
      const failure = await ask(phone);
      if (failure !== null) failures.add(failure);
    }
  };
  await Promise.all(Array.from({ length: API_CALLS }, work));
  return [...failures];
}

async function askApi({ scenario, signal }: Stage, method: string, path: string): Promise<string | null> {
  const { api = '', api_token_file: file } = scenario;
  const headers: Record<string, string> = { 'content-type': 'application/json' };
  if (file !== undefined) headers['authorization'] = `Bearer ${readFileSync(file, 'utf8').trim()}`;
  const body = method === 'POST' ? { body: '{}' } : {};
  const url = new URL(path, api);
  const response = await fetch(url, {
    method,
    headers,
    ...body,
    signal: AbortSignal.any([signal, AbortSignal.timeout(ANSWER_MS)]),
  });
  const text = await response.text();
  return response.ok
    ? null
    : `${method} ${url.origin}/v1/devices/…/messages answered ${response.status}: ${text.slice(0, 200)}`;
}

async function request(
  { url, method, json, status }: Extract<Step, { verb: 'request' }>['with'],
  signal: AbortSignal,
): Promise<string[]> {
  const body =
    json === undefined ? {} : { body: JSON.stringify(json), headers: { 'content-type': 'application/json' } };
  const response = await fetch(url, {
    method,
    ...body,
    signal: AbortSignal.any([signal, AbortSignal.timeout(ANSWER_MS)]),
  });
  await response.arrayBuffer();
  return response.status === status ? [] : [`${method} ${url}: expected ${status}, got ${response.status}`];
}

async function expectations(
  groups: readonly Group[],
  expected: Extract<Step, { verb: 'expect' }>['with'],
  signal: AbortSignal,
): Promise<string[]> {
  const deadline = performance.now() + expected.within_s * 1000;
  for (;;) {
    const found = groups.flatMap((group) =>
      differences(group, expected).map((each) => `${group.name}: ${each}`),
    );
    if (found.length === 0 || performance.now() >= deadline || signal.aborted) return found;
    await pause(LOOK_MS, signal);
  }
}

/** A wait that the scenario's end cuts short. */
function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) return resolve();
    const over = (): void => {
      clearTimeout(timer);
      signal.removeEventListener('abort', over);
      resolve();
    };
    const timer = setTimeout(over, ms);
    signal.addEventListener('abort', over);
  });
}
