import { createServer } from 'node:http';
import { createLog, embedRelay, isSallyportError, loadRelayConfig } from '../../relay-client/index.ts';

// The service proper, for phones: on loopback, in clear text, for the relay in this process alone.
const service = createServer((request, response) => {
  request.resume();
  response.writeHead(200, { 'content-type': 'text/xml', 'content-length': 0 }).end();
});
await new Promise<void>((resolve) => service.listen(8443, '127.0.0.1', resolve));

// relay.yaml, as `sallyport-relay join` wrote it, has a service of kind wpi whose upstream is http://127.0.0.1:8443.
const gate = await embedRelay(loadRelayConfig('relay.yaml'), { log: createLog('info') });

// The outbox can no longer be trusted: what was accepted is on disk, so end and start again.
void gate.failed.then((error) => {
  console.error(error.message);
  process.exit(1);
});

/** Asks a phone to call. Resolves once that is on disk and every connected proxy answers by it. */
async function call(device: string, job: string): Promise<void> {
  try {
    const { id, generation } = await gate.push(device, { key: job, ttl: 86_400_000, wait: 'proxy' });
    console.log(`${device} is asked to call: message ${id}, generation ${generation}`);
  } catch (error) {
    // Nothing was accepted then; pushing again with the same key is safe.
    if (!isSallyportError(error, 'OUTBOX_FULL', 'OUTBOX_BUSY', 'OUTBOX_STORAGE')) throw error;
    console.error(`not now: ${error.message}`);
  }
}

// What becomes of it: cleared, superseded, expired, cancelled or dead, each message once.
void (async () => {
  for await (const { device, event, what } of gate.history()) {
    if (event !== 'note') console.log(`${device}: ${event} ${what}`);
  }
})();

await call('00:1A:E8:12:34:56', 'settings-2030-01-31');

process.once('SIGTERM', () => {
  void gate.close().then(() => service.close());
});
