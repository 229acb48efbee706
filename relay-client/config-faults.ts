import { isIP, isIPv4 } from 'node:net';
import { sep } from 'node:path';
import type { Written } from '../shared/config-text.ts';
import type { Fault, FileChecks } from '../shared/config-files.ts';
import { isLoopback, overlap, parseAddressRange } from './addresses/range.ts';
import type { AddressRange } from './addresses/range.ts';
import { DEFAULT_OUTBOX } from './config-schema.ts';

/** What is wrong in the files that a config names. */
export function findFileFaults(config: Written, check: FileChecks): void {
  check.linkKey(config, [], 'key');
  config.list('proxies').forEach((proxy, i) => check.authorities(proxy, ['proxies', i], 'ca'));
  config.list('services').forEach((service, i) => {
    check.pair(service.map('tls'), ['services', i, 'tls'], 'intermediate');
    check.authorities(service.map('upstream_tls'), ['services', i, 'upstream_tls'], 'ca');
  });
  check.token(config.map('api'), ['api'], 'token_file');
}

/** The source addresses of a service; null where there are none, or none that can be read. */
function rangeOf(service: Written): AddressRange | null {
  try {
    return parseAddressRange(service.text('source_addresses') ?? '');
  } catch {
    return null;
  }
}

const isInside = (file: string, directory: string): boolean => file.startsWith(`${directory}${sep}`);

/** Whether two ranges would give one address away twice. One and the same range does not. */
function collide(one: AddressRange, other: AddressRange): boolean {
  return one.text !== other.text && overlap(one, other);
}

/** What a schema of single fields cannot see. */
export function findFaults(config: Written, fault: Fault, beside: (path: string) => string): void {
  const services = config.list('services');
  const names = services.map((service) => service.text('name'));
  services.forEach((service, i) => {
    if (names.indexOf(service.text('name')) !== i) fault(['services', i, 'name'], 'a name of its own');
    if (service.has('upstream_tls') && service.text('upstream')?.startsWith('http:') === true) {
      fault(['services', i, 'upstream_tls'], 'nothing, since the upstream is plain http');
    }
    const range = rangeOf(service);
    if (range !== null) {
      const path = ['services', i, 'source_addresses'];
      const other = services
        .slice(0, i)
        .map(rangeOf)
        .find((each) => each !== null && collide(each, range));
      if (other !== undefined && other !== null) {
        fault(path, `${other.text} as well, or a range that has no address of it`);
      }
      const host = URL.parse(service.text('upstream') ?? '')?.hostname ?? '';
      if (host.startsWith('[')) fault(path, 'nothing, since the upstream has an IPv6 address');
      else if (isLoopback(range) && isIPv4(host) && !host.startsWith('127.')) {
        fault(path, 'a range that leads to the upstream, which 127.0.0.0/8 does on this machine only');
      }
    }
    if (service.text('kind') === 'tcp' && service.has('teach')) {
      fault(
        ['services', i, 'teach'],
        'nothing: a service of kind tcp passes sessions unread, so phones can only be taught by one of kind wpi',
      );
    }
  });
  const outbox = config.map('outbox');
  const key = outbox.text('key');
  if (key !== undefined && isInside(beside(key), beside(outbox.text('path') ?? DEFAULT_OUTBOX))) {
    fault(
      ['outbox', 'key'],
      "a file outside the outbox's directory, so that a copy of the one is no copy of both",
    );
  }
  const hooks = config.list('webhooks').map((webhook) => webhook.text('name'));
  hooks.forEach((name, i) => {
    if (hooks.indexOf(name) !== i) fault(['webhooks', i, 'name'], 'a name of its own');
  });
  const urls = config.list('proxies').map((proxy) => proxy.text('url'));
  urls.forEach((url, i) => {
    if (urls.indexOf(url) !== i) fault(['proxies', i, 'url'], 'a URL of its own');
  });
  config.list('proxies').forEach((proxy, i) => {
    if (proxy.has('pin') === proxy.has('ca')) fault(['proxies', i], 'either pin or ca, one of them');
    const resolved = (proxy.text('resolve') ?? 'none') !== 'none';
    const host = URL.parse(proxy.text('url') ?? '')?.hostname ?? '';
    if (resolved && isIP(host.replace(/^\[|\]$/g, '')) !== 0) {
      fault(['proxies', i, 'resolve'], 'nothing, since the url has an address and no name');
    } else if (resolved && proxy.has('via')) {
      fault(['proxies', i, 'resolve'], 'nothing, since the HTTP proxy in via looks names up by itself');
    }
    for (const field of ['resolve_interval_s', 'resolve_grace_s', 'resolve_by']) {
      if (!resolved && proxy.has(field)) fault(['proxies', i, field], 'nothing, since resolve is none');
    }
  });
  const caught = config.map('contact_me');
  if (!caught.has('advertise') && /^(0\.0\.0\.0|\[::\]):/.test(caught.text('listen') ?? '')) {
    fault(['contact_me', 'advertise'], 'the URL that services reach it by, since it listens everywhere');
  }
  for (const field of ['device_web_port', 'device_tls']) {
    if (caught.has(field) && services.every((service) => !service.has('source_addresses'))) {
      fault(['contact_me', field], 'nothing, since no service gives devices source_addresses');
    }
  }
  const api = config.map('api');
  const listen = api.text('listen');
  if (listen !== undefined && !api.has('token_file') && !/^(127\.|\[::1\]|localhost:)/.test(listen)) {
    fault(['api', 'token_file'], 'a file, since the API listens beyond loopback');
  }
}
