import t from 'tap';
import { CLOCK_TOLERANCE_MS, createAnswerCheck, hostIn } from '../../../relay-client/warnings/answers.ts';
import type { AnswerRules } from '../../../relay-client/warnings/answers.ts';
import type { DeviceId } from '../../../shared/device-id.ts';
import { NOON } from '../../fixtures/fake-view.ts';

const ONE = '00:1a:e8:00:00:01' as DeviceId;
const OURS = 'http://proxy.example:8080/dcmp/';

/** What is found in an answer that writes these items, as `kind item address`. */
function found(items: Record<string, string>, rules: Partial<AnswerRules> = {}, date: string | null = null) {
  const message = {
    nonce: 'n',
    action: 'WriteItems',
    items: Object.entries(items).map(([name, value]) => ({ name, index: null, status: null, value })),
  };
  const all = createAnswerCheck(rules)({ device: ONE, message, date, now: NOON });
  return all.map(([what, { device, ...facts }]) => {
    t.equal(device, ONE);
    return [what, ...Object.values(facts)].join(' ');
  });
}

t.test('hosts in values', async (t) => {
  for (const [value, host] of [
    ['10.0.0.5', '10.0.0.5'],
    [' 10.0.0.5:21 ', '10.0.0.5'],
    ['fd00::1', 'fd00::1'],
    ['[fd00::1]:21', 'fd00::1'],
    ['https://[fd00::1]/a', 'fd00::1'],
    ['https://DLS.internal:18443/x', 'dls.internal'],
    ['ftp://10.0.0.5/x', '10.0.0.5'],
    ['dls.internal', 'dls.internal'],
    ['two words', null],
    ['', null],
    ['http://', null],
  ] as const) {
    t.equal(hostIn(value), host, value);
  }
});

t.test('addresses of the inside', async (t) => {
  for (const inside of [
    '10.1.2.3',
    '172.31.0.1',
    '192.168.0.1',
    '127.0.0.1',
    '169.254.1.1',
    'fd12::1',
    '::1',
  ])
    t.strictSame(
      found({ 'file-https-base-url': `https://${inside.includes(':') ? `[${inside}]` : inside}/f` }),
      [`inside-address file-https-base-url ${inside}`],
    );
  for (const outside of ['192.0.2.1', '172.32.0.1', 'proxy.example', '[2001:db8::1]'])
    t.strictSame(found({ 'file-https-base-url': `https://${outside}/f` }), []);
  t.strictSame(found({ realm: '10.0.0.1', 'file-https-base-url': '' }), [], 'other items, and what is empty');
  t.strictSame(found({ 'SIP-Server': '10.0.0.1' }, { insideItems: ['sip-server'] }), [
    'inside-address sip-server 10.0.0.1',
  ]);
  t.strictSame(
    found({ 'file-https-base-url': 'https://100.64.0.1/f' }, { insideNetworks: ['100.64.0.0/10'] }),
    ['inside-address file-https-base-url 100.64.0.1'],
  );
});

t.test("the service's own host is of the inside, whatever its name", async (t) => {
  const rules = { insideHosts: ['DLS.example', '192.0.2.7'] };
  t.strictSame(found({ 'file-https-base-url': 'https://dls.example/f' }, rules), [
    'inside-address file-https-base-url dls.example',
  ]);
  t.strictSame(found({ 'dcmp-url': 'http://192.0.2.7/dcmp/' }, rules), ['inside-address dcmp-url 192.0.2.7']);
});

t.test('another poll address than ours', async (t) => {
  const rules = { pollUrls: [OURS, 'http://10.0.0.1/{device-id}/dcmp/'] };
  t.strictSame(found({ 'dcmp-url': 'http://elsewhere.example/' }), [], 'where none is known, any will do');
  t.strictSame(found({ 'dcmp-url': 'http://elsewhere.example/' }, rules), ['other-dcmp-url']);
  t.strictSame(found({ 'dcmp-url': 'http://10.9.9.9/' }, rules), [
    'other-dcmp-url',
    'inside-address dcmp-url 10.9.9.9',
  ]);
  t.strictSame(found({ 'dcmp-url': 'HTTP://Proxy.example:8080/dcmp/' }, rules), [], 'in any spelling');
  t.strictSame(found({ 'dcmp-url': 'http://10.0.0.1/00:1a:e8:00:00:01/dcmp/' }, rules), [], 'with its id');
  const secret = { pollUrls: [`${OURS}{poll_secret}/`], pollSecretOf: (device: DeviceId) => `of-${device}` };
  t.strictSame(found({ 'dcmp-url': `${OURS}of-${ONE}/` }, secret), [], 'with its secret');
  for (const url of [OURS, `${OURS}{poll_secret}/`, `${OURS}of-00:1a:e8:00:00:02/`]) {
    t.strictSame(found({ 'dcmp-url': url }, secret), ['other-dcmp-url'], url);
  }
  t.strictSame(found({ 'dcmp-url': '' }, rules), [], 'taking the address away is no other address');
});

t.test('FTP', async (t) => {
  t.strictSame(found({ 'file-server': 'ftp.example' }), ['ftp']);
  t.strictSame(found({ 'file-server': 'ftp.example', 'file-https-base-url': 'https://f.example/x' }), []);
});

t.test('clocks that differ', async (t) => {
  const at = (ms: number): string => new Date(NOON + ms).toUTCString();
  t.strictSame(found({}, {}, at(CLOCK_TOLERANCE_MS)), []);
  t.strictSame(found({}, {}, at(-CLOCK_TOLERANCE_MS - 1000)), ['service-clock -301']);
  t.strictSame(found({}, {}, at(3_600_000)), ['service-clock 3600']);
  t.strictSame(found({}, {}, 'yesterday'), [], 'what is no date says nothing');
});
