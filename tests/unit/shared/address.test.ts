import fc from 'fast-check';
import t from 'tap';
import {
  addressBytes,
  allowEverything,
  formatAddress,
  isWildcard,
  listenError,
  parseAddress,
  parseAllowList,
  plainAddress,
} from '../../../shared/address.ts';

t.test('an address is a host and a port, IPv6 in brackets', async (t) => {
  t.strictSame(parseAddress('0.0.0.0:8080'), { host: '0.0.0.0', port: 8080 });
  t.strictSame(parseAddress('[::]:8080'), { host: '::', port: 8080 });
  t.strictSame(parseAddress('[2001:db8::1]:0'), { host: '2001:db8::1', port: 0 });
  t.strictSame(parseAddress('proxy-1.example:65535'), { host: 'proxy-1.example', port: 65_535 });
  for (const text of ['0.0.0.0:8080', '[::1]:443', 'localhost:1']) {
    t.equal(formatAddress(parseAddress(text)), text);
  }
});

t.test('anything else is refused, with what to write instead', async (t) => {
  for (const text of [
    '',
    '8080',
    ':8080',
    'host:',
    'host',
    'host:65536',
    'host:-1',
    'host:1x',
    '::1:80',
    '[::1]',
    '[1.2.3.4]:80',
    '[zz]:80',
    '256.1.1.1:80',
    '1.2.3:80',
    'a b:80',
    'http://host:80',
    '-host:80',
  ]) {
    t.throws(() => parseAddress(text), { code: 'ADDRESS_INVALID' }, text);
  }
});

t.test('a wildcard is told from an address that a peer could dial', async (t) => {
  for (const host of ['0.0.0.0', '::', '0:0::0', '::ffff:0.0.0.0']) t.ok(isWildcard({ host, port: 1 }), host);
  for (const host of ['127.0.0.1', '::1', 'localhost', '10.0.0.0'])
    t.notOk(isWildcard({ host, port: 1 }), host);
});

t.test('an IPv4 address that came over IPv6 is shown as people know it', async (t) => {
  for (const address of ['::ffff:192.0.2.1', '::FFFF:c000:201', '0:0:0:0:0:ffff:c000:201'])
    t.equal(plainAddress(address), '192.0.2.1', address);
  for (const address of ['192.0.2.1', '2001:db8::1', '::1', '::c000:201', '64:ff9b::c000:201', 'no address'])
    t.equal(plainAddress(address), address);
});

t.test('an allow list knows networks of both families and the mapped form of IPv4', async (t) => {
  const list = parseAllowList(['10.0.0.0/8', '192.168.7.1', '2001:db8::/33', 'fe80::/10']);
  for (const address of [
    '10.255.0.1',
    '::ffff:10.1.2.3',
    '::ffff:a01:203',
    '192.168.7.1',
    '2001:db8:7fff::1',
    'fe80::1%eth0',
  ]) {
    t.ok(list.allows(address), address);
  }
  for (const address of [
    '11.0.0.1',
    '192.168.7.2',
    '2001:db8:8000::1',
    '::10.1.2.3',
    'nonsense',
    '',
    undefined,
  ]) {
    t.notOk(list.allows(address), String(address));
  }
  t.notOk(parseAllowList([]).allows('10.0.0.1'), 'an empty list allows nobody');
});

t.test('a list that allows everybody is known as such, so that nobody needs to ask', async (t) => {
  t.ok(parseAllowList(['0.0.0.0/0']).allowsAll('0.0.0.0'));
  t.notOk(parseAllowList(['0.0.0.0/0']).allowsAll('::'), 'IPv6 peers are not in it');
  t.ok(parseAllowList(['0.0.0.0/0', '::/0']).allowsAll('::'));
  t.ok(parseAllowList(['::/0']).allowsAll('127.0.0.1'), 'it covers the mapped addresses too');
  t.notOk(parseAllowList(['10.0.0.0/8']).allowsAll('127.0.0.1'));
  t.ok(allowEverything.allows(undefined));
});

t.test('networks that are none are refused', async (t) => {
  for (const text of [
    '',
    'x',
    '10.0.0.0/33',
    '::/129',
    '10.0.0.0/',
    '10.0.0.0/8/8',
    '10.0.0/8',
    '10.0.0.0/-1',
    '/8',
  ]) {
    t.throws(() => parseAllowList([text]), { code: 'ADDRESS_INVALID' }, text);
  }
});

t.test('an address is in a network just when their first bits are equal', async () => {
  const bits = (address: string): string =>
    [...(addressBytes(address) ?? [])].map((byte) => byte.toString(2).padStart(8, '0')).join('');
  fc.assert(
    fc.property(
      fc.oneof(fc.ipV4(), fc.ipV6()),
      fc.oneof(fc.ipV4(), fc.ipV6()),
      fc.nat(32),
      (network, address, size) => {
        const offset = network.includes(':') ? 0 : 96;
        const inside = bits(network).slice(0, offset + size) === bits(address).slice(0, offset + size);
        return parseAllowList([`${network}/${size}`]).allows(address) === inside;
      },
    ),
    { numRuns: 500 },
  );
});

t.test('an address reads to the same bytes as the same address spelt out', async () => {
  const group = fc.integer({ min: 0, max: 0xffff });
  fc.assert(
    fc.property(fc.array(group, { minLength: 8, maxLength: 8 }), fc.nat(8), fc.nat(8), (groups, a, b) => {
      const [from, to] = [Math.min(a, b), Math.max(a, b)];
      const zeroed = groups.map((value, i) => (i >= from && i < to ? 0 : value).toString(16));
      const short =
        to - from < 2
          ? zeroed.join(':')
          : `${zeroed.slice(0, from).join(':')}::${zeroed.slice(to).join(':')}`;
      return (
        Buffer.compare(addressBytes(short) ?? Buffer.of(), addressBytes(zeroed.join(':')) ?? Buffer.of(1)) ===
        0
      );
    }),
  );
});

t.test('a listener that could not listen says who, where, and what to do', async (t) => {
  const address = { host: '::', port: 80 };
  const error = (code: string) => listenError('The poll door', address, { code, message: `listen ${code}` });
  t.match(error('EADDRINUSE'), {
    code: 'ADDRESS_IN_USE',
    message: /poll door cannot listen on \[::\]:80.*another program/,
  });
  t.match(error('EACCES'), { code: 'ADDRESS_INVALID', message: /CAP_NET_BIND_SERVICE/ });
  t.match(error('EADDRNOTAVAIL'), { code: 'ADDRESS_INVALID', message: /no such address/ });
  t.match(error('ESTRANGE'), { code: 'ADDRESS_INVALID', message: /listen ESTRANGE/ });
});
