/** The images of deploy/container are built, and run as compose.yaml says, from `init` to a phone that is called. */
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, chownSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { parse, stringify } from 'yaml';
import { createAuthority } from '../fixtures/certificates.ts';
import { until } from '../fixtures/until.ts';
import { ADDRESSES, createTopology, whyNoNamespaces } from '../fixtures/namespaces.ts';
import { startProcess } from '../fixtures/program.ts';
import type { Program } from '../fixtures/program.ts';
import { openShop, whyNoImages, whyNoLimits } from './containers.ts';
import type { Container } from './containers.ts';

t.setTimeout(1_190_000);

const SERVICE = fileURLToPath(new URL('../fixtures/services/plain-main.ts', import.meta.url));
const DEVICE = '00:1a:e8:00:00:01';
const NODE_USER = 1000;

t.test('images are built and run', { skip: whyNoImages() || whyNoNamespaces() }, async (t) => {
  const shop = await openShop(t);
  await shop.build('proxy');
  await shop.build('relay');
  const topology = await createTopology(t);
  const proxy = await shop.service('proxy', topology.dmz.wrap);
  const relay = await shop.service('relay', topology.inside.wrap);
  const start = async (name: string, container: Container): Promise<Program> => {
    const program = await startProcess(name, container.command());
    t.teardown(() => program.stop());
    return program;
  };
  /** The program itself: the first process of its container. */
  const firstOf = ({ pid }: Program): string =>
    readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').split(' ')[0] ?? '';
  const statusOf = (program: Program): string => readFileSync(`/proc/${firstOf(program)}/status`, 'utf8');
  const poll = (): Promise<string> =>
    topology.phones.run(
      ...(['curl', '-s', '-o', '/dev/null', '-w', '%{http_code}'] as const),
      `http://${ADDRESSES.proxy}:8080/dcmp/contact-me?device-id=${DEVICE}`,
    );
  const well = (container: Container): boolean => {
    const [file = '', ...args] = container.instead(...container.healthcheck);
    return spawnSync(file, args).status === 0;
  };

  await t.test('each tells its version and its commands, as a user without privileges', async (t) => {
    for (const [container, command] of [
      [proxy, 'invite'],
      [relay, 'join'],
    ] as const) {
      t.match(await container.run('--version'), /^\d+\.\d+\.\d+\n$/);
      t.match(await container.run('--help'), new RegExp(`^  ${command} `, 'm'));
    }
  });

  await t.test('there is no relay in the image for the DMZ', async (t) => {
    for (const [container, has] of [
      [proxy, false],
      [relay, true],
    ] as const) {
      const [file = '', ...args] = container.instead('test', '-e', '/opt/sallyport/dist/relay-client');
      t.equal(spawnSync(file, args).status === 0, has);
    }
  });

  await t.test('nothing can be written but the volume', async (t) => {
    const script = `
      for each in / /opt/sallyport /opt/sallyport/dist /tmp /var/tmp /var/lib /home/node /etc; do
        (echo > $each/written) 2>/dev/null && echo $each
      done
      cd /var/lib/sallyport-* && echo > written && echo volume && rm written`;
    for (const container of [proxy, relay]) {
      const [file = '', ...args] = container.instead('sh', '-c', script);
      const { stdout, stderr } = spawnSync(file, args, { encoding: 'utf8' });
      t.equal(stdout, 'volume\n', stderr);
    }
  });

  await t.test('a proxy is set up in its volume, and answers polls', async (t) => {
    t.match(await proxy.run('init', '/var/lib/sallyport-proxy'), /wrote .*proxy\.yaml/);
    t.match(await proxy.run('check', '--config', '/var/lib/sallyport-proxy/proxy.yaml'), /is fine/);
    t.notOk(well(proxy), 'it is not well before it runs');
    const program = await start('proxy', proxy);
    t.equal(await poll(), '200');
    t.ok(well(proxy), 'its health check says so');
    t.match(await proxy.run('doctor', '--config', '/var/lib/sallyport-proxy/proxy.yaml'), / 0 failed$/m);
    const status = statusOf(program);
    t.match(status, /^Uid:\t1000\t1000\t1000\t1000$/m);
    t.match(status, /^CapBnd:\t0+$/m);
    t.match(status, /^NoNewPrivs:\t1$/m);

    await t.test('killed, it works again in the same volume', async (t) => {
      t.ok(proxy.service.restart, 'as an engine would have it');
      process.kill(Number(firstOf(program)), 'SIGKILL');
      t.equal(await program.exited, 137);
      await start('proxy', proxy);
      t.equal(await poll(), '200');
    });
  });

  await t.test(
    'no more memory and processes than the compose file grants',
    { skip: whyNoLimits() },
    async (t) => {
      for (const container of [proxy, relay]) {
        const { memoryBytes, pids } = container.service.limits;
        const started = pids + 20;
        const [file = '', ...args] = container.instead(
          'sh',
          '-c',
          `echo ready; read go; for i in $(seq ${started}); do sleep 60 & done; echo all`,
        );
        const crowd = spawn(file, args, { stdio: 'pipe' });
        let said = '';
        crowd.stderr.on('data', (chunk: Buffer) => (said += chunk.toString()));
        await once(crowd.stdout, 'data');
        t.same(await container.limits(), [memoryBytes, pids]);
        crowd.stdin.end('go\n');
        await once(crowd, 'close');
        t.match(said, /fork/, `${started} processes are too many`);
      }
    },
  );

  await t.test('a relay joins it, and a push turns the poll to 202', async (t) => {
    const authority = await createAuthority();
    const own = await authority.issue([ADDRESSES.service]);
    const shown = await authority.issue([ADDRESSES.proxy]);
    const files = { 'dls.pem': shown.cert, 'dls.key': shown.key, 'ca.pem': authority.cert };
    const put = (name: string, text: string): void => {
      const path = join(relay.volume, name);
      writeFileSync(path, text);
      chownSync(path, NODE_USER, NODE_USER);
      chmodSync(path, 0o600);
    };
    for (const [name, text] of Object.entries(files)) put(name, text);
    const given = t.testdir({ 'service.pem': own.cert, 'service.key': own.key });
    const service = await startProcess(
      'plain-service',
      [...topology.inside.wrap, process.execPath, SERVICE]
        .concat('--host', ADDRESSES.service, '--port', '18443', '--admin-port', '18000')
        .concat('--cert', join(given, 'service.pem'), '--key', join(given, 'service.key')),
    );
    t.teardown(() => service.stop());

    const home = '/var/lib/sallyport-relay';
    const config = '/var/lib/sallyport-proxy/proxy.yaml';
    const invite = await proxy.run(
      'invite',
      'hq-1',
      '--url',
      `wss://${ADDRESSES.proxy}:9443`,
      '--config',
      config,
    );
    const joinString = invite.trim().split('\n').at(-1) ?? '';
    t.match(await relay.run('join', joinString, '--dir', home), /relay hq-1 has joined/);
    const written = parse(readFileSync(join(relay.volume, 'relay.yaml'), 'utf8')) as object;
    const wpi = {
      name: 'wpi',
      kind: 'wpi',
      tls: { cert: 'dls.pem', key: 'dls.key' },
      upstream: `https://${ADDRESSES.service}:18443`,
      upstream_tls: { ca: 'ca.pem' },
    };
    put('relay.yaml', stringify({ ...written, services: [wpi] }));
    t.match(await relay.run('check', '--config', `${home}/relay.yaml`), /is fine/);
    const program = await start('relay', relay);
    await program.line(({ msg }) => msg === 'link up');
    // Which it is once it has reached its service, too.
    await until('its health check says so', () => well(relay));
    t.match(await relay.run('push', DEVICE, '--wait', 'proxy'), /held/);
    await until('the poll is 202', async () => (await poll()) === '202');
    t.match(statusOf(program), /^CapBnd:\t0+$/m);

    await t.test('and both end in order, leaving what is theirs in their volumes', async (t) => {
      const stopped = program.stop();
      const late = AbortSignal.timeout(relay.service.graceMs);
      t.equal(await Promise.race([stopped, once(late, 'abort')]), 0, 'before an engine would kill it');
      t.same(
        readdirSync(relay.volume).filter((name) => !/^(relay|outbox|dls|ca)/.test(name)),
        [],
      );
    });
  });
});
