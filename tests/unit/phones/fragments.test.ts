import t from 'tap';
import { DEVICE, makePhone, startPair, startService } from './start.ts';

t.test('a long reply comes in parts on GetNextFragment', async (t) => {
  const service = await startService(t);
  const phone = makePhone(t, service, { fragmentItems: 100 });
  const result = await phone.start();
  t.strictSame(result?.actions, [
    'ReadAllItems',
    'GetNextFragment',
    'GetNextFragment',
    'WriteItems',
    'CleanUp',
  ]);
  t.equal(service.device(DEVICE)?.results[0]?.items.length, phone.items.all().length);
});

t.test('50 kB split a reply even without an item limit, naming the first action where so set', async (t) => {
  const items = Object.fromEntries(Array.from({ length: 12 }, (_, at) => [`memo-${at}`, 'ä'.repeat(4000)]));
  const { service } = await startPair(t, {}, { items, fragmentAction: 'original' });
  const bodies = service.requests.map((request) => request.body.toString());
  const named = / fragment="(next|final)">\s*<ReasonForContact action="ReadAllItems"/;
  t.strictSame(
    bodies.slice(1, 4).map((body) => named.exec(body)?.[1]),
    ['next', 'next', 'final'],
  );
  t.ok(bodies.every((body) => Buffer.byteLength(body) < 60_000));
  t.ok(service.device(DEVICE)?.items.get('memo-11') === 'ä'.repeat(4000));
});
