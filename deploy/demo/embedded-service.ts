/**
 * A provisioning service that embeds the relay: it dials out by itself and pushes. One process, no listener that
 * anything outside would have to reach.
 *
 *     node deploy/demo/embedded-service.ts RELAY_YAML
 *
 * Reads lines from standard input: `push DEVICE` queues a settings change and calls the phone.
 */
import { createInterface } from 'node:readline';
import { createLog, embedRelay, loadRelayConfig } from '../../relay-client/index.ts';
import { createPlainService } from '../../tests/fixtures/services/index.ts';

const [file = 'relay.yaml'] = process.argv.slice(2);
const config = loadRelayConfig(file);
// The service proper: on loopback, in clear text, for the embedded relay alone.
const service = await createPlainService({ tls: false, startUpItems: { realm: 'demo' } });
const gate = await embedRelay(
  {
    ...config,
    services: config.services.map((each) =>
      each.kind === 'wpi' ? { ...each, upstream: service.url } : each,
    ),
  },
  { log: createLog('warn') },
);
const say = (line: Record<string, unknown>): void => void process.stdout.write(`${JSON.stringify(line)}\n`);

void gate.failed.then(() => process.exit(1));
const linked = (): boolean => gate.view.proxies().every(({ state }) => state === 'up');
const ready = (): void => say({ msg: 'ready', api: gate.addresses.api });
if (linked()) ready();
else {
  const stop = gate.onChange(() => {
    if (!linked()) return;
    stop();
    ready();
  });
}

createInterface({ input: process.stdin }).on('line', (line) => {
  const [verb, device] = line.split(' ');
  if (verb !== 'push' || device === undefined) return;
  void (async () => {
    const done = service.enqueue(device, [{ action: 'WriteItems', items: { realm: 'changed' } }]);
    const message = await gate.push(device, { wait: 'proxy' });
    say({ msg: 'pushed', device, id: message.id, generation: message.generation });
    const results = await done;
    say({ msg: 'written', device, status: results[0]?.status });
  })().catch((error: unknown) => say({ msg: 'push failed', why: String(error) }));
});

void (async () => {
  for await (const { event, device, what } of gate.history()) {
    if (event === 'cleared') say({ msg: 'cleared', device, by: what });
  }
})();

const end = (): void => void Promise.all([gate.close(), service.close()]).then(() => process.exit(0));
process.on('SIGTERM', end).on('SIGINT', end);
