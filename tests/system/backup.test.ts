import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { startGate } from '../fixtures/gate.ts';
import type { Gate } from '../fixtures/gate.ts';
import { runProgram } from '../fixtures/program.ts';
import type { Finished } from '../fixtures/program.ts';

const PHONES = {
  kept: '00:1A:E8:73:00:01',
  clearedSince: '00:1A:E8:73:00:02',
  pushedSince: '00:1A:E8:73:00:03',
};

async function push(gate: Gate, device: string): Promise<string> {
  const { status, body } = await gate.call('POST', `/v1/devices/${device}/messages?wait=proxy`, {});
  if (status !== 201) throw new Error(`a push was answered ${status}: ${JSON.stringify(body)}`);
  return String(body['id']);
}

const relay = (gate: Gate, ...args: string[]): Promise<Finished> =>
  runProgram('sallyport-relay', [...args, '--config', gate.relayConfig]);

t.test(
  'an outbox that was lost is put back from a backup made while it ran, and proxies are told',
  async (t) => {
    const gate = await startGate(t);
    const outbox = join(gate.dir, 'relay', 'outbox');
    await push(gate, PHONES.kept);
    await push(gate, PHONES.clearedSince);

    const backups = t.testdir();
    const made = await relay(gate, 'backup', backups);
    t.equal(made.code, 0, made.stderr);
    t.match(
      made.stdout,
      /^wrote .*outbox-\d{8}T\d{6}Z\.db: \d+ bytes, 2 held of 2 accepted, position \d+ of/,
    );
    const [name = ''] = readdirSync(backups);
    const file = join(backups, name);
    const again = await relay(gate, 'backup', file, '--json');
    t.match(JSON.parse(again.stdout), { file, held: 2, accepted: 2, bytes: Number });
    t.same(readdirSync(backups), [name], 'a backup of the same name takes the place of the last');

    await gate.call('DELETE', `/v1/devices/${PHONES.clearedSince}/messages`);
    await push(gate, PHONES.pushedSince);
    await gate.polls(PHONES.clearedSince, 200);
    await gate.polls(PHONES.pushedSince, 202);

    const refused = await relay(gate, 'restore', file);
    t.equal(refused.code, 1);
    t.match(refused.stderr, /in use by another process/, 'not while the relay runs');
    t.equal(await gate.poll(PHONES.pushedSince), 202, 'which is not disturbed');

    gate.relay.signal('SIGKILL');
    await gate.relay.exited;
    rmSync(outbox, { recursive: true });
    const restored = await relay(gate, 'restore', file);
    t.equal(restored.code, 0, restored.stderr);
    t.match(restored.stdout, /^restored .*outbox\.db: \d+ bytes, 2 held/);
    await gate.startRelay();
    await gate.relay.line(({ msg }) => String(msg).startsWith('outbox is not the file'));
    await gate.polls(PHONES.kept, 202);
    await gate.polls(PHONES.clearedSince, 202);
    await gate.polls(PHONES.pushedSince, 200);

    // Once more, over an outbox that is there: it is kept.
    await push(gate, PHONES.pushedSince);
    t.equal(await gate.relay.stop(), 0);
    const over = await relay(gate, 'restore', file, '--json');
    const { replaced } = JSON.parse(over.stdout) as { replaced: string };
    t.same(readdirSync(replaced), ['outbox.db']);
    await gate.startRelay();
    await gate.polls(PHONES.pushedSince, 200);
    const undone = join(replaced, 'outbox.db');
    t.equal(await gate.relay.stop(), 0);
    t.equal((await relay(gate, 'restore', undone)).code, 0, 'and can be put back as well');
    await gate.startRelay();
    await gate.polls(PHONES.pushedSince, 202);
  },
);

t.test(
  'a damaged outbox, and a damaged backup, are refused; --accept-loss goes on with what is readable',
  async (t) => {
    const gate = await startGate(t);
    const outbox = join(gate.dir, 'relay', 'outbox');
    const file = join(outbox, 'outbox.db');
    for (const device of Object.values(PHONES)) await push(gate, device);
    t.equal(await gate.relay.stop(), 0);
    const bytes = readFileSync(file);
    const written = PHONES.pushedSince.toLowerCase();
    const changed = Buffer.from(bytes);
    for (let at = changed.indexOf(written); at > 0; at = changed.indexOf(written)) changed[at] = 0x78;
    t.notOk(bytes.equals(changed), 'the id stands in the file');
    writeFileSync(file, changed);

    const refused = await relay(gate, 'run');
    t.equal(refused.code, 1);
    t.match(refused.stderr, /outbox in .* is damaged: outbox\.db: .*--accept-loss/);
    t.ok(readFileSync(file).equals(changed), 'and nothing was touched');
    const backup = await relay(gate, 'backup', t.testdir());
    t.equal(backup.code, 1, 'no backup is made of it');
    t.match(backup.stderr, /damaged/);

    const started = await gate.startRelay(['--accept-loss']);
    const told = await started.line(({ msg }) => String(msg).startsWith('the outbox was damaged'));
    t.match(told, { kept: { held: 2 }, heldLost: 1, level: 'error' });
    await gate.polls(PHONES.kept, 202);
    await gate.polls(PHONES.clearedSince, 202);
    await gate.polls(PHONES.pushedSince, 200);
    t.equal((await gate.call('GET', '/v1/status')).status, 200);
  },
);
