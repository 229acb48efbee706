/**
 * How fast the dashboard is over many devices: real programs, a real browser.
 *
 *     npm run bench:dashboard -- [DEVICES]      default 100 000; takes some minutes; let nothing else run meanwhile
 */
import { once } from 'node:events';
import { connect } from 'node:net';
import { parseArgs } from 'node:util';
import { chromium } from 'playwright-core';
import { startGate } from '../fixtures/gate.ts';
import type { Gate } from '../fixtures/gate.ts';
import { macAfter } from '../phones/index.ts';
import { readArguments } from '../../bin/arguments.ts';

const HELP = `npm run bench:dashboard -- [DEVICES]

How fast the dashboard is over DEVICES devices, default 100000, at least 50.
`;
const DEVICES = readArguments(() => {
  const [devices = '100000', ...more] = parseArgs({ allowPositionals: true }).positionals;
  if (more.length > 0 || !/^\d+$/.test(devices) || Number(devices) < 50)
    throw new Error('DEVICES is one whole number from 50');
  return Number(devices);
}, HELP);
const FIRST_MAC = '00:1A:E8:00:00:01';
const ASKED = 50;
const VIEWS = 7;
const POLLS_AT_ONCE = 1_000;
/** How far into a list is looked. */
const DEEP = Math.floor(DEVICES / 5_000) * 1_000;

const say = (text: string): void => void process.stdout.write(`${text}\n`);
const tasks: (() => unknown)[] = [];
const owner = { teardown: (task: () => unknown) => tasks.unshift(task) };

const middle = (figures: number[]): number =>
  figures.toSorted((a, b) => a - b)[Math.floor(figures.length / 2)] ?? NaN;
function tell(what: string, figures: number[]): void {
  const ms = (figure: number): string => `${figure.toFixed(1)} ms`.padStart(10);
  say(`${what.padEnd(58)} ${ms(middle(figures))} ${ms(Math.max(...figures))}`);
}

async function pushAll(gate: Gate): Promise<void> {
  const lines = Array.from({ length: DEVICES }, (_, n) => JSON.stringify({ device: macAfter(FIRST_MAC, n) }));
  const response = await fetch(`${gate.api}/v1/messages`, {
    method: 'POST',
    headers: { 'content-type': 'application/x-ndjson' },
    body: lines.join('\n'),
  });
  const results = (await response.text()).trim().split('\n');
  if (results.length !== DEVICES) throw new Error(`of ${DEVICES} pushes ${results.length} were answered`);
}

/** Each device polls once, many on one connection. */
async function pollAll(gate: Gate): Promise<void> {
  const url = new URL(gate.pollUrl);
  for (let from = 0; from < DEVICES; from += POLLS_AT_ONCE) {
    const socket = connect(Number(url.port), url.hostname);
    const many = Math.min(POLLS_AT_ONCE, DEVICES - from);
    const asks = Array.from({ length: many }, (_, i) => {
      const last = i === many - 1 ? 'Connection: close\r\n' : '';
      return `GET ${url.pathname}contact-me?device-id=${macAfter(FIRST_MAC, from + i)} HTTP/1.1\r\nHost: x\r\n${last}\r\n`;
    });
    socket.resume().write(asks.join(''));
    await once(socket, 'close');
  }
}

async function timeAsks(gate: Gate, what: string, path: string): Promise<void> {
  const figures: number[] = [];
  for (let i = 0; i < ASKED; i++) {
    const before = performance.now();
    const response = await fetch(`${gate.api}/v1/devices?limit=50${path}`);
    await response.arrayBuffer();
    if (!response.ok) throw new Error(`${path} was answered ${response.status}`);
    figures.push(performance.now() - before);
  }
  tell(`API: ${what}`, figures);
}

async function deepCursor(gate: Gate, sort: string): Promise<string> {
  let cursor = '';
  for (let page = 0; page < DEEP / 1000; page++) {
    const { body } = await gate.call('GET', `/v1/devices?limit=1000&sort=${sort}${cursor}`);
    if (typeof body['next'] !== 'string') throw new Error(`there are no ${DEEP} devices by ${sort}`);
    cursor = `&cursor=${encodeURIComponent(body['next'])}`;
  }
  return cursor;
}

/** A promise in the page, looked after at each frame; the page's policy lets no text become a function there. */
const until = (seen: string): string => `new Promise((resolve) => {
  const look = () => (document.body !== null && (${seen})) ? resolve() : requestAnimationFrame(look);
  look();
})`;

async function timePages(gate: Gate): Promise<void> {
  const browser = await chromium.launch({ executablePath: '/usr/bin/chromium', args: ['--no-sandbox'] });
  owner.teardown(() => browser.close());
  const views: Record<string, number[]> = { overview: [], devices: [], search: [], none: [] };
  let bytes = 0;
  for (let i = 0; i < VIEWS; i++) {
    // A context of its own has nothing cached.
    const context = await browser.newContext();
    const page = await context.newPage();
    const session = await context.newCDPSession(page);
    await session.send('Network.enable');
    bytes = 0;
    session.on('Network.loadingFinished', ({ encodedDataLength }) => (bytes += encodedDataLength));
    const before = performance.now();
    await page.goto(gate.api, { waitUntil: 'commit' });
    await page.evaluate(until('document.querySelector(".tile-value") !== null'));
    views['overview']?.push(performance.now() - before);
    if (i === 0) say(`a first look at the overview: ${bytes} bytes came over the line`);
    await page.close();
    const fresh = await context.newPage();
    const beforeDevices = performance.now();
    await fresh.goto(`${gate.api}/#/devices`, { waitUntil: 'commit' });
    await fresh.evaluate(until('document.querySelectorAll("tbody tr").length === 50'));
    views['devices']?.push(performance.now() - beforeDevices);
    const type = async (figures: number[] | undefined, words: string, seen: string): Promise<void> => {
      await fresh.evaluate(`(() => {
        const field = document.querySelector('input[type=search]');
        field.value = ${JSON.stringify(words)};
        const began = performance.now();
        // To the beginning of the frame that shows it; nothing is asked of the page in between.
        globalThis.took = new Promise((resolve) => {
          const watch = new MutationObserver(() => {
            if (!(${seen})) return;
            watch.disconnect();
            requestAnimationFrame(() => resolve(performance.now() - began));
          });
          watch.observe(document.body, { subtree: true, childList: true, characterData: true });
        });
        field.dispatchEvent(new InputEvent('input', { bubbles: true }));
      })()`);
      figures?.push(await fresh.evaluate<number>('globalThis.took'));
    };
    await type(
      views['search'],
      macAfter(FIRST_MAC, DEVICES - 1),
      `document.querySelectorAll('tbody tr').length === 1`,
    );
    await type(
      views['none'],
      'no such',
      `document.querySelector('.empty-title')?.textContent === 'No device fits.'`,
    );
    await type(undefined, '', `document.querySelectorAll('tbody tr').length === 50`);
    await context.close();
  }
  tell('browser: overview, from the address to its figures', views['overview'] ?? []);
  tell('browser: first fifty devices, pages cached', views['devices'] ?? []);
  tell('browser: search for one device, from the key to the row', views['search'] ?? []);
  tell('browser: search that finds nothing', views['none'] ?? []);
}

try {
  const gate = await startGate(owner, { logLevel: 'info' });
  await pushAll(gate);
  await pollAll(gate);
  say(
    `${DEVICES.toLocaleString('en')} devices, each with one message and one poll; ${ASKED} requests of 50 devices each`,
  );
  say(`${''.padEnd(58)} ${'median'.padStart(10)} ${'longest'.padStart(10)}`);
  await timeAsks(gate, 'by id', '');
  await timeAsks(gate, 'pending', '&state=pending');
  await timeAsks(gate, 'dead, of which there are none', '&state=dead');
  await timeAsks(gate, 'idle, of which there are none', '&state=idle');
  await timeAsks(gate, 'search that finds one', `&q=${macAfter(FIRST_MAC, DEVICES - 1)}`);
  await timeAsks(gate, 'search that finds nothing', '&q=nosuch');
  for (const sort of ['-pending', '-last_session', '-last_poll', 'last_poll']) {
    await timeAsks(gate, `by ${sort}`, `&sort=${sort}`);
    await timeAsks(
      gate,
      `by ${sort}, after ${DEEP.toLocaleString('en')}`,
      `&sort=${sort}${await deepCursor(gate, sort)}`,
    );
  }
  await timeAsks(gate, 'by -last_poll, search that finds nothing', '&sort=-last_poll&q=nosuch');
  await timePages(gate);
} finally {
  for (const task of tasks) await task();
}
