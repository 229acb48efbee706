import { execFileSync } from 'node:child_process';
import { chmodSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { judge } from '../../bench/compare.ts';
import { mergeRows, readFigures } from '../../bench/figures.ts';
import type { KeptRow } from '../../bench/figures.ts';
import { growthText } from '../../bench/growth-page.ts';
import type { GrowthStep } from '../../bench/growth.ts';
import { ratioChart } from '../../bench/chart.ts';
import { pagesOf } from '../../bench/pages.ts';
import { AS_LAUNCHED, startPollServer } from '../../bench/peer.ts';
import { connectionsIn } from '../../bench/poll-load.ts';
import { absentRow, absoluteRow, inTurn, pairedRow } from '../../bench/rows.ts';
import { asMarkdown, asText, cellsOf } from '../../bench/table.ts';
import { readDocument } from '../../fixtures/documents.ts';
import { startProcess } from '../../fixtures/program.ts';

const paired = (ours: number[], peer: number[]) =>
  pairedRow({
    ...{ bench: 'b', name: 'row', unit: '/s', ours, peer: { name: 'them', values: peer } },
    ...{ more: true, goal: { ratio: 1 }, note: '' },
  });

t.test('a row says the median of the rounds, of their ratios, and what came of the goal', async (t) => {
  const row = paired([10, 30, 20], [10, 10, 10]);
  t.match(row, { ours: 20, ratio: 2, spread: [1, 3], met: true, raw: { ours: [10, 30, 20] } });
  t.equal(paired([9, 9, 30], [10, 10, 10]).met, false, 'one lucky round does not reach a goal');
  const most = absoluteRow({
    bench: 'b',
    name: 'r',
    unit: 'ms',
    ours: [4, 6, 5],
    goal: { most: 5 },
    note: '',
  });
  t.match(most, { ours: 5, met: true, peer: null });
  const least = absoluteRow({ bench: 'b', name: 'r', unit: '/s', ours: [4], goal: { least: 5 }, note: '' });
  t.equal(least.met, false);
  const absent = absentRow({
    ...{ bench: 'b', name: 'r', unit: '/s', ours: [4], peer: 'tomcat', absent: 'apt install it', note: '' },
  });
  t.same(cellsOf(absent).slice(0, 3), ['r', '4 /s', 'not installed (tomcat)']);
  t.match(asText([row, most, absent]), /^bench +row +ours/);
  t.equal(asMarkdown([['a'], ['b|c']]), '| a |\n|---|\n| b\\|c |');
  t.match(ratioChart('x < y', [{ name: 'row', peer: 'p', ratio: 2, spread: [1, 3], goal: 1 }]), /x &lt; y/);
});

t.test(
  'contenders take turns, each first as often as another, after a round that is not counted',
  async (t) => {
    const calls: string[] = [];
    const figures = await inTurn(['a', 'b'], 2, (name) => Promise.resolve(calls.push(name)));
    t.equal(calls.join(''), 'ab' + 'ab' + 'ba');
    t.same(figures, { a: [3, 6], b: [4, 5] });
  },
);

t.test('a checkout is called slower only when it lost every round, and by enough', async (t) => {
  t.match(judge('r', [0.9, 0.92, 0.9, 0.85, 0.99, 0.9]), { slower: true, ratio: 0.9 });
  t.match(judge('r', [0.9, 0.92, 0.9, 0.85, 1.01, 0.9]), { slower: false }, 'it won one');
  t.match(judge('r', [0.97, 0.98, 0.97, 0.96, 0.99, 0.97]), { slower: false }, 'it lost next to nothing');
  t.match(judge('r', [0.5, 0.5, 0.5]), { slower: false }, 'three rounds may be chance');
  t.match(judge('r', [1.5, 1.2, 1.3, 1.1, 1.6, 1.4]), { slower: false });
});

t.test('a resumed session is told from a full handshake', async (t) => {
  const said = (letters: string, count: number): string =>
    `Now timing with session id reuse.\nstarting\n${letters}\n\n${count} connections in 0.37s; 1 connections/user sec\n`;
  t.equal(connectionsIn(said('rrrr', 4), true), 4);
  t.throws(() => connectionsIn(said('rr*r', 4), true), /only 3 of 4/);
  t.equal(connectionsIn(said('****', 4), false), 4);
  t.throws(() => connectionsIn(said('***r', 4), false), /1 of 4/);
});

t.test('a row that is measured again takes the place of the kept one', async (t) => {
  const machine = { text: 'old', date: '2026-01-01', load: 1 };
  const kept: KeptRow[] = [
    { ...paired([1], [1]), machine },
    { ...paired([1], [1]), bench: 'c', machine },
  ];
  const merged = mergeRows(kept, [paired([2], [1])], { text: 'new', date: '2026-01-02', load: 1 }, [
    'c',
    'b',
  ]);
  t.same(
    merged.map((row) => [row.bench, row.ours, row.machine.text]),
    [
      ['c', 1, 'old'],
      ['b', 2, 'new'],
    ],
  );
});

t.test('the growth tables tell every size and every goal', async (t) => {
  const step = (devices: number): GrowthStep => ({
    ...{ devices, pending: devices / 10, pollRate: 50_000, pollRateSpread: [1, 2], pollRateRatio: 0.9 },
    ...{ pollP99: 1, pushP50: 1, pushP99: 2, bulkRate: 10, listPageP50: 1, listPageP99: 2, currentS: 0.1 },
    ...{ knownS: 3, resyncPollP99: 4, resyncPollMost: 9, proxyMb: 100, relayMb: 200, outboxMb: 10 },
  });
  const text = growthText([step(1_000), step(1_000_000)]);
  t.match(text, /1,000 devices +1,000,000 devices/);
  t.match(text, /poll rate at 1,000,000 against 1,000 +0\.9 +≥ 0\.95 +no/);
  t.match(text, /1,000,000 devices rebuilt.* 3 +≤ 5 +yes/);
});

t.test('the poll server answers the probe, which sees what is pending', async (t) => {
  const server = await startPollServer(t, [], { tls: null, known: 100 });
  const given = JSON.stringify({ port: server.plain, rate: 500, devices: 100 });
  const script = new URL('../../bench/poll-probe.ts', import.meta.url).pathname;
  const probe = await startProcess('poll-probe', [process.execPath, script, given]);
  t.teardown(() => probe.stop());
  for (let polls = 0, offered = 0; polls < 200 || offered === 0;) {
    const from = probe.lines.length;
    probe.tell('take');
    const told = await probe.line((line) => probe.lines.indexOf(line) >= from);
    if (told.msg !== 'told') throw new Error(String(told['why']));
    polls += Number(told['polls']);
    offered += Number(told['offered']);
  }
  t.pass('half of the devices have something pending');
});

t.test('the pages tell the kept figures, and no others', async (t) => {
  for (const [page, text] of Object.entries(pagesOf(readFigures()))) t.equal(readDocument(page), text, page);
});

t.test('the poll door that is measured has the environment of a proxy as it is launched', async (t) => {
  const node = join(t.testdir(), 'node');
  writeFileSync(node, '#!/bin/sh\n[ "$1" = --version ] && echo v24.0.0 || echo "$GLIBC_TUNABLES"\n');
  chmodSync(node, 0o755);
  const launched = (program: string, tunables: string): string => {
    const env = { ...process.env, SALLYPORT_NODE: node, GLIBC_TUNABLES: tunables };
    const cwd = new URL('../../..', import.meta.url);
    return execFileSync('sh', ['bin/launch.sh', program], { cwd, env, encoding: 'utf8' }).trim();
  };
  t.equal(launched('proxy/main', ''), AS_LAUNCHED.GLIBC_TUNABLES);
  const both = `glibc.malloc.arena_max=2:${AS_LAUNCHED.GLIBC_TUNABLES}`;
  t.equal(launched('proxy/main', 'glibc.malloc.arena_max=2'), both, 'beside what is set already');
  t.equal(launched('proxy/init', ''), '', 'other programs have none');
});
