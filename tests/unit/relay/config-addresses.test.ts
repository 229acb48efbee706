import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import type { Test } from 'tap';
import { stringify } from 'yaml';
import { loadRelayConfig } from '../../../relay-client/config.ts';
import type { RelayConfig } from '../../../relay-client/config.ts';

function load(t: Test, services: object[], rest: object = {}): RelayConfig {
  const file = join(t.testdir({ 'relay.key': '', 'phone.pem': '', 'phone.key': '' }), 'relay.yaml');
  const config = {
    name: 'hq-1',
    key: 'relay.key',
    proxies: [{ url: 'wss://proxy.example:9443', pin: `sha256:${'A'.repeat(43)}=` }],
    services: services.map((service, i) => ({
      name: `s${i}`,
      kind: 'wpi',
      upstream: 'http://127.0.0.1:18443',
      ...service,
    })),
    ...rest,
  };
  writeFileSync(file, stringify(config));
  return loadRelayConfig(file);
}

t.test('source addresses, proxy-v2 and the devices’ port are read', async (t) => {
  const { services, contactMe } = load(
    t,
    [{ source_addresses: '127.64.0.0/16', forwarded: 'proxy-v2' }, { source_addresses: '127.64.0.0/16' }, {}],
    { contact_me: { listen: '127.0.0.1:8086', device_port: 8087 } },
  );
  t.match(services, [
    { sourceAddresses: '127.64.0.0/16', forwarded: 'proxy-v2' },
    { sourceAddresses: '127.64.0.0/16', forwarded: 'none' },
    { sourceAddresses: null },
  ]);
  t.match(contactMe, { devicePort: 8087 });
  t.match(load(t, [], { contact_me: { listen: '127.0.0.1:8086' } }).contactMe, { devicePort: 8085 });
});

t.test('ports of devices’ web servers are read, and refused where no device has an address', async (t) => {
  const contact_me = {
    listen: '127.0.0.1:8086',
    device_web_port: 80,
    device_tls: { cert: 'phone.pem', key: 'phone.key' },
  };
  const { contactMe } = load(t, [{ source_addresses: '127.64.0.0/16' }], { contact_me });
  t.match(contactMe, {
    deviceWebPort: 80,
    deviceTls: { port: 443, cert: /\/phone\.pem$/, profile: 'intermediate' },
  });
  t.throws(() => load(t, [{}], { contact_me }), {
    message: /device_web_port is 80; expected nothing, since .*\n.*device_tls is .*expected nothing, since/,
  });
});

t.test('source addresses that cannot work are faults, each with its reason', async (t) => {
  for (const [services, fault] of [
    [[{ source_addresses: '127.0.0.0/8' }], /services\[0\]\.source_addresses .*from \/12/],
    [[{ source_addresses: 'fd00::/64' }], /services\[0\]\.source_addresses .*IPv4/],
    [
      [{ source_addresses: '127.64.0.0/16' }, { source_addresses: '127.64.7.0/24' }],
      /services\[1\]\.source_addresses .*127\.64\.0\.0\/16 as well/,
    ],
    [
      [{ source_addresses: '10.99.0.0/16', upstream: 'http://[::1]:18443' }],
      /services\[0\]\.source_addresses .*IPv6/,
    ],
    [
      [{ source_addresses: '127.64.0.0/16', upstream: 'http://10.0.0.5:18443' }],
      /services\[0\]\.source_addresses .*this machine only/,
    ],
  ] as const) {
    t.throws(() => load(t, [...services]), { code: 'CONFIG_INVALID', message: fault });
  }
});
