import type { Written } from '../shared/config-text.ts';
import type { Fault, FileChecks } from '../shared/config-files.ts';

/** What is wrong in the files that a config names. */
export function findFileFaults(config: Written, check: FileChecks): void {
  config.list('poll').forEach((door, i) => check.pair(door.map('tls'), ['poll', i, 'tls'], 'intermediate'));
  config.list('doors').forEach((door, i) => check.pair(door, ['doors', i], 'intermediate'));
  const relay = config.map('relay').map('tls');
  check.pair(relay, ['relay', 'tls'], 'modern');
  check.linkKey(relay, ['relay', 'tls'], 'key');
}

/** What a schema of single fields cannot see: names that clash or lead nowhere, fields that exclude each other. */
export function findFaults(config: Written, fault: Fault): void {
  const doors = config.list('doors');
  const doorNames = doors.map((door) => door.text('name'));
  for (const list of ['poll', 'doors']) {
    config.list(list).forEach((door, i) => {
      if (door.has('proxy_protocol_from') && !door.flag('proxy_protocol')) {
        fault([list, i, 'proxy_protocol_from'], 'nothing, since proxy_protocol is not true');
      }
    });
  }
  /** Whether TLS of this door, at this place of the config, may be ended by another user. */
  const runs = (tls: Written, at: (string | number)[], here: boolean): void => {
    if (!tls.has('run_as')) return;
    if (!here || tls.text('profile') !== 'legacy') {
      fault([...at, 'run_as'], 'nothing, since only profile legacy ends TLS in a process of its own');
    } else if (process.getuid?.() !== 0) {
      fault(
        [...at, 'run_as'],
        'nothing, since the proxy does not run as root and so cannot run anything as another user',
      );
    }
  };
  config.list('poll').forEach((door, i) => runs(door.map('tls'), ['poll', i, 'tls'], true));
  doors.forEach((door, i) => {
    const at = ['doors', i];
    if (doorNames.indexOf(door.text('name')) !== i) fault([...at, 'name'], 'a name of its own');
    const inspected = door.text('tls') === 'proxy';
    for (const field of ['cert', 'key']) {
      if (inspected && !door.has(field)) fault([...at, field], 'a file, since tls is proxy');
    }
    runs(door, at, inspected);
    for (const field of ['cert', 'key', 'client_ca']) {
      if (!inspected && door.has(field))
        fault([...at, field], 'nothing, since TLS does not end here (tls: proxy)');
    }
  });
  const sites = config.list('sites');
  const siteNames = sites.map((site) => site.text('name'));
  const pollSites = config.list('poll').map((door) => door.text('site'));
  pollSites.forEach((site, i) => {
    const known = siteNames.includes(site) || (sites.length === 0 && site === 'default');
    if (site !== undefined && !known) fault(['poll', i, 'site'], 'the name of a site');
  });
  const prefixes = new Map<string, number>();
  const doorOwners = new Map<string, number>();
  const claim = (
    owners: Map<string, number>,
    thing: string,
    site: number,
    path: (string | number)[],
  ): void => {
    const owner = owners.get(thing) ?? site;
    if (owner !== site) fault(path, `something that site ${siteNames[owner] ?? owner} does not have already`);
    owners.set(thing, owner);
  };
  sites.forEach((site, i) => {
    const at = ['sites', i];
    if (siteNames.indexOf(site.text('name')) !== i) fault([...at, 'name'], 'a name of its own');
    const several = 'a list, since there are several sites';
    if (sites.length > 1 && !site.has('doors')) fault([...at, 'doors'], several);
    if (sites.length > 1 && !site.has('poll_prefixes') && !pollSites.includes(site.text('name'))) {
      fault([...at, 'poll_prefixes'], `${several}, or a poll door with this one's name in its site`);
    }
    site
      .texts('poll_prefixes')
      .forEach((prefix, j) => claim(prefixes, prefix, i, [...at, 'poll_prefixes', j]));
    site.texts('doors').forEach((door, j) => {
      if (!doorNames.includes(door)) fault([...at, 'doors', j], 'the name of a session door');
      claim(doorOwners, door, i, [...at, 'doors', j]);
    });
  });
  doorNames.forEach((name, i) => {
    if (
      name !== undefined &&
      sites.length > 0 &&
      sites.every((site) => site.has('doors')) &&
      !doorOwners.has(name)
    ) {
      fault(['doors', i, 'name'], 'a door that a site lists among its doors');
    }
  });
  const ops = config.map('ops').text('listen');
  if (ops !== undefined && /^(0\.0\.0\.0|\[::\]):/.test(ops)) {
    fault(['ops', 'listen'], 'a loopback or inside address, not every interface');
  }
}
