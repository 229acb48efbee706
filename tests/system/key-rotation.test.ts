import { copyFile, readdir, readFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import type { Test } from 'tap';
import { parse, stringify } from 'yaml';
import { startGate } from '../fixtures/gate.ts';
import type { Gate } from '../fixtures/gate.ts';
import { runProgram, startProgram } from '../fixtures/program.ts';

const DEVICE = '00:1a:e8:00:00:01';

type RelayConfig = Record<string, unknown> & { proxies: { url: string; pin: string | string[] }[] };

async function succeed(name: 'sallyport-proxy' | 'sallyport-relay', args: string[]): Promise<string> {
  const { code, stdout, stderr } = await runProgram(name, args);
  if (code !== 0) throw new Error(`${name} ${args.join(' ')} ended with ${code}: ${stderr}`);
  return stdout;
}

async function changeConfig(gate: Gate, change: (config: RelayConfig) => object): Promise<void> {
  const config = parse(await readFile(gate.relayConfig, 'utf8')) as RelayConfig;
  await writeFile(gate.relayConfig, stringify({ ...config, ...change(config) }));
}

/** Restarts the relay, which has to link; what was pending is answered for as before. */
async function restart(gate: Gate): Promise<void> {
  await gate.relay.stop();
  await gate.startRelay();
  await gate.polls(DEVICE, 202);
}

/** Runs the gate's relay with other keys beside it. @returns why it does not link */
async function whyNoLink(t: Test, gate: Gate, change: (config: RelayConfig) => object): Promise<unknown> {
  const config = parse(await readFile(gate.relayConfig, 'utf8')) as RelayConfig;
  const file = join(gate.dir, 'relay', 'other.yaml');
  const apart = { outbox: { path: './other' }, api: { listen: '127.0.0.1:0' }, contact_me: null };
  await writeFile(file, stringify({ ...config, ...apart, ...change(config) }));
  const relay = await startProgram('sallyport-relay', ['run', '--config', file]);
  t.teardown(() => relay.stop());
  const { why } = await relay.line(({ msg }) => msg === 'link down', 60_000);
  await relay.stop();
  return why;
}

t.test(
  'keys are replaced by the commands that the guide names, and phones are called all the while',
  async (t) => {
    const gate = await startGate(t);
    const relayDir = join(gate.dir, 'relay');
    const proxyDir = join(gate.dir, 'proxy');
    await gate.call('POST', `/v1/devices/${DEVICE}/messages?wait=proxy`, {});
    await gate.polls(DEVICE, 202);

    await t.test("a relay's key: both are good until the overlap ends, then the new one", async (t) => {
      const invite = await succeed('sallyport-proxy', ['invite', 'hq-1', '--config', gate.proxyConfig]);
      const word = invite.trim().split('\n').at(-1) ?? '';
      await succeed('sallyport-relay', ['join', word, '--dir', relayDir, '--new-key']);
      await restart(gate);
      t.pass('the old key is good beside the new one');

      await rename(join(relayDir, 'relay.key'), join(relayDir, 'relay.key.old'));
      await rename(join(relayDir, 'relay.key.new'), join(relayDir, 'relay.key'));
      await changeConfig(gate, () => ({ former_key: 'relay.key.old' }));
      await restart(gate);
      t.pass('and the new one is, in its place');

      // A day later, as the proxy's own record has it.
      const records = join(proxyDir, 'state', 'relays');
      const [name = ''] = await readdir(records);
      const record = JSON.parse(await readFile(join(records, name), 'utf8')) as { former: { until: string } };
      t.ok(Date.parse(record.former.until) > Date.now(), 'the overlap has an end');
      record.former.until = new Date(Date.now() - 1_000).toISOString();
      await writeFile(join(records, name), `${JSON.stringify(record)}\n`);
      t.match(await whyNoLink(t, gate, () => ({ key: 'relay.key.old' })), /not known here/);
      await restart(gate);
    });

    await t.test("a proxy's key: relays take both pins while it is replaced", async (t) => {
      const next = join(gate.dir, 'next');
      const printed = await succeed('sallyport-proxy', ['init', next]);
      const [pin = ''] = /sha256:[A-Za-z0-9+/]{43}=/.exec(printed) ?? [];
      let old: string | string[] = '';
      await changeConfig(gate, ({ proxies }) => {
        old = proxies[0]?.pin ?? '';
        return { proxies: proxies.map((proxy) => ({ ...proxy, pin: [String(proxy.pin), pin] })) };
      });
      await restart(gate);

      for (const file of ['proxy.key', 'proxy.pem']) await copyFile(join(next, file), join(proxyDir, file));
      gate.proxy.signal('SIGHUP');
      await gate.proxy.line(({ msg }) => /^reloaded/.test(msg));
      t.equal(await gate.poll(DEVICE), 202, 'the link goes on');
      await restart(gate);

      const pinned = (only: string | string[]) => (config: RelayConfig) => ({
        proxies: config.proxies.map((proxy) => ({ ...proxy, pin: only })),
      });
      t.match(await whyNoLink(t, gate, pinned(old)), /shows sha256:/, 'the old pin alone fits no more');
      await changeConfig(gate, pinned(pin));
      await restart(gate);
    });

    await t.test('a relay that is revoked while two of its keys are good has neither', async (t) => {
      const invite = async (): Promise<string> =>
        (await succeed('sallyport-proxy', ['invite', 'hq-1', '--config', gate.proxyConfig]))
          .trim()
          .split('\n')
          .at(-1) ?? '';
      await succeed('sallyport-relay', ['join', await invite(), '--dir', relayDir, '--new-key']);
      const spare = await invite();
      t.equal(await gate.poll(DEVICE), 202, 'the link with the old key is up');
      await succeed('sallyport-proxy', ['revoke', 'hq-1', '--config', gate.proxyConfig]);
      const { why } = await gate.relay.line(
        ({ msg, why }) => msg === 'link down' && /revoked/.test(String(why)),
        60_000,
      );
      t.match(why, /this relay was revoked/);
      await gate.polls(DEVICE, 200);
      for (const key of ['relay.key', 'relay.key.new']) {
        t.match(await whyNoLink(t, gate, () => ({ key, former_key: null })), /not known here/, key);
      }
      const again = await runProgram('sallyport-relay', ['join', spare, '--dir', relayDir, '--new-key']);
      t.match(again, { code: 1, stderr: /revoked after this invite was made/ });
    });
  },
);
