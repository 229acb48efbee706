import t from 'tap';
import { isLoopback, overlap, parseAddressRange, textOf } from '../../../relay-client/addresses/range.ts';

const spanOf = (text: string): [string, string] => {
  const { first, last } = parseAddressRange(text);
  return [textOf(first), textOf(last)];
};

t.test('a range leaves out the address of its network and its broadcast address', async (t) => {
  t.strictSame(spanOf('127.64.0.0/16'), ['127.64.0.1', '127.64.255.254']);
  t.strictSame(spanOf('10.99.0.4/30'), ['10.99.0.5', '10.99.0.6']);
  t.strictSame(spanOf('192.168.255.0/24'), ['192.168.255.1', '192.168.255.254']);
  t.strictSame(spanOf('127.16.0.0/12'), ['127.16.0.1', '127.31.255.254']);
});

t.test('what is no usable range is refused, and says why', async (t) => {
  for (const [text, why] of [
    ['127.64.0.0', /such as 127\.64\.0\.0\/16/],
    ['127.64.0.0/11', /from \/12 to \/30/],
    ['127.64.0.0/31', /from \/12 to \/30/],
    ['127.64.0.300/24', /such as/],
    ['fd00::/64', /IPv4/],
    ['127.64.3.0/16', /write 127\.64\.0\.0\/16/],
    ['127.0.0.0/16', /holds 127\.0\.0\.1/],
    ['0.0.0.0/16', /no machine/],
    ['239.1.0.0/16', /no machine/],
    ['', /such as/],
  ] as const) {
    t.throws(() => parseAddressRange(text), { code: 'ADDRESS_INVALID', message: why }, text);
  }
});

t.test('ranges tell whether they overlap, and whether they stay on the machine', async (t) => {
  const [wide, within, beside] = ['10.99.0.0/16', '10.99.7.0/24', '10.100.0.0/16'].map(parseAddressRange);
  t.ok(overlap(wide!, within!) && overlap(within!, wide!));
  t.notOk(overlap(wide!, beside!) || overlap(beside!, wide!));
  t.ok(isLoopback(parseAddressRange('127.64.0.0/16')));
  t.notOk(isLoopback(wide!));
});
