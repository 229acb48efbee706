import t from 'tap';
import type { Test } from 'tap';
import { formatAddress } from '../../../shared/address.ts';
import { silentLog } from '../../../shared/log.ts';
import { createOps } from '../../../proxy/ops.ts';
import type { OpsParts } from '../../../proxy/ops.ts';
import type { SiteStatus } from '../../../proxy/site-status.ts';

const site = (name: string, reasons: string[]): SiteStatus => ({
  name,
  ready: reasons.length === 0,
  linked: reasons.length === 0,
  reasons,
  relays: [{ name: 'hq-1', roundTripMs: null, streams: 0, reasons: [] }],
  held: 0,
  pendingDevices: 0,
  sessions: 0,
  streams: 0,
  position: null,
  services: [],
});

async function open(t: Test, parts: Partial<OpsParts> = {}) {
  const ops = await createOps(
    { host: '127.0.0.1', port: 0 },
    {
      sites: () => [site('north', []), site('south', ['no relay link for site south'])],
      draining: () => false,
      warnings: () => [],
      status: () => ({ software: 'test' }),
      metrics: () => Promise.resolve('sallyport_polls_total 1\n'),
      log: silentLog,
      ...parts,
    },
  );
  t.teardown(() => ops.close());
  return async (path: string, method = 'GET') => {
    const response = await fetch(`http://${formatAddress(ops.address)}${path}`, { method });
    return { status: response.status, text: await response.text(), allow: response.headers.get('allow') };
  };
}

t.test('readiness is about all sites, or the one that is asked for', async (t) => {
  const get = await open(t);
  t.match(await get('/readyz'), { status: 503, text: /no relay link for site south/ });
  t.match(await get('/readyz?site=north'), { status: 200, text: /"ready": true/ });
  t.match(await get('/readyz?site=south'), { status: 503 });
  t.match(await get('/readyz?site=nowhere'), { status: 404, text: /no site nowhere/ });
  const old = await open(t, { warnings: () => ['the certificate of relay expires in 3 days'] });
  t.match(await old('/readyz?site=north'), { status: 200, text: /"ready": true[^]*expires in 3 days/ });
  const leaving = await open(t, { draining: () => true });
  t.match(await leaving('/readyz?site=north'), { status: 503, text: /going away/ });
});

t.test('health, status and metrics are read, and nothing else is there', async (t) => {
  const get = await open(t);
  t.equal((await get('/healthz')).status, 200);
  t.match(JSON.parse((await get('/status')).text), { software: 'test', sites: [{ name: 'north' }, {}] });
  t.match(await get('/metrics'), { status: 200, text: /polls_total 1/ });
  t.same(await get('/healthz', 'HEAD'), { status: 200, text: '', allow: null });
  t.match(await get('/healthz', 'POST'), { status: 405, allow: 'GET, HEAD' });
  t.match(await get('/'), { status: 404, text: /readyz/ });
});

t.test('what fails while it is being told is a 500, and the listener goes on', async (t) => {
  const get = await open(t, {
    status: () => {
      throw new Error('the state directory is gone');
    },
    metrics: () => Promise.reject(new Error('no metrics')),
  });
  t.match(await get('/status'), { status: 500, text: /the log says why/ });
  t.match(await get('/metrics'), { status: 500 });
  t.equal((await get('/healthz')).status, 200);
});
