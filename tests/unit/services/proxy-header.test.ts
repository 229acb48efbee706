import fc from 'fast-check';
import t from 'tap';
import { parseProxyHeader } from '../../../proxy/proxy-protocol.ts';
import { encodeProxyHeader } from '../../../relay-client/services/proxy-header.ts';
import { addressBytes } from '../../../shared/address.ts';

t.test('whatever address is told, a reader of PROXY v2 reads it', async (t) => {
  const port = fc.nat(65_535);
  const address = fc.record({ host: fc.oneof(fc.ipV4(), fc.ipV6()), port });
  const found = fc.check(
    fc.property(address, address, (source, destination) => {
      const bytes = encodeProxyHeader(source, destination);
      const read = parseProxyHeader(bytes);
      if (read.result !== 'header' || read.bytes !== bytes.length || read.source === null) return false;
      const told = addressBytes(read.source.address);
      return (
        read.source.port === source.port &&
        Buffer.from(told ?? []).equals(addressBytes(source.host) ?? Buffer.of())
      );
    }),
  );
  t.notOk(found.failed, fc.defaultReportMessage(found) ?? '');
});

t.test('the destination is told beside a source of its family, else left open', async (t) => {
  const source = { host: '10.1.2.3', port: 1_000 };
  t.equal(
    encodeProxyHeader(source, { host: '::ffff:10.9.9.9', port: 443 }).toString('hex', 12),
    `2111000c${'0a010203'}${'0a090909'}03e801bb`,
  );
  t.equal(
    encodeProxyHeader(source, { host: '2001:db8::1', port: 443 }).toString('hex', 12),
    `2111000c${'0a010203'}${'00000000'}03e80000`,
  );
  t.equal(
    encodeProxyHeader({ host: '::ffff:10.1.2.3', port: 1_000 }, source).toString('hex', 12),
    `2111000c${'0a010203'}${'0a010203'}03e803e8`,
    'a mapped address is one of IPv4',
  );
});

t.test('who speaks for himself, and whose address is none, tells no address', async (t) => {
  const destination = { host: '10.9.9.9', port: 443 };
  t.equal(encodeProxyHeader(null, destination).toString('hex', 12), '20000000');
  t.equal(encodeProxyHeader({ host: 'somewhere', port: 1 }, destination).toString('hex', 12), '21000000');
});
