import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Test } from 'tap';
import { createMachine } from './machine.ts';

const DEVICE = '00:1a:e8:00:00:01';
/** An address that deploy/systemd/relay-addresses.conf names, and one that it does not. */
const NAMED = '10.30.0.10';
const UNNAMED = '10.66.0.1';

/** Says what a unit's process can do, as its user and within its confinement. */
const PROBE = `
for each in /etc/sallyport-relay /usr/lib /var/lib /var/lib/sallyport-relay /var/log /opt /run /tmp /var/tmp /dev/shm /var/lib/sallyport-relay/outbox; do
  (echo > $each/probe) 2>/dev/null && echo "probe writes $each"
done
for each in /tmp /var/lib/sallyport-relay/outbox; do
  cp /bin/true $each/probe && $each/probe 2>/dev/null && echo "probe runs $each"
done
rm -f /var/lib/sallyport-relay/outbox/probe
[ -d /proc/1 ] && echo "probe sees init"
unshare --user true 2>/dev/null && echo "probe makes a namespace"
unshare --mount true 2>/dev/null && echo "probe mounts"
grep -E '^(CapBnd|NoNewPrivs|Seccomp):' /proc/self/status | sed 's/^/probe /'
for each in ${NAMED} ${UNNAMED}; do
  curl -s -o /dev/null -m 3 "http://$each:8000/" && echo "probe reaches $each"
done
exit 0
`;

/** Runs the packages' units under a systemd of their own: what it does with them, and what they can do then. */
export async function tryUnits(t: Test, share: string): Promise<void> {
  const machine = await createMachine(t, { share, systemd: true });
  const show = async (unit: string, fact: string): Promise<string> =>
    (await machine.must(`systemctl show --property ${fact} --value ${unit}`)).trim();
  await machine.must(`
    dpkg -i /mnt/sallyport-proxy_*-1_*.deb /mnt/sallyport-relay_*-1_*.deb
    runuser -u sallyport-proxy -- sallyport-proxy init /etc/sallyport-proxy --state /var/lib/sallyport-proxy/state
    systemctl enable --now sallyport-proxy`);
  await machine.must(polls(200));

  await t.test('the proxy runs, and status and journal tell of it', async (t) => {
    t.match(await machine.must('systemctl status sallyport-proxy'), /Active: active \(running\)/);
    t.match(await machine.must('journalctl -u sallyport-proxy -o cat'), /"msg":"ready"/);
    t.equal(await show('sallyport-proxy', 'UnitFileState'), 'enabled');
  });

  await t.test(
    'the relay can write to its outbox and nowhere else, and reach whom its drop-in names',
    async (t) => {
      writeFileSync(join(share, 'probe.sh'), PROBE);
      await machine.must(`
      ip address add ${NAMED}/32 dev lo
      ip address add ${UNNAMED}/32 dev lo
      systemd-run --quiet --working-directory=/usr/share/doc/sallyport-relay python3 -m http.server 8000
      install -D -m 644 -t /etc/systemd/system/sallyport-relay.service.d /usr/share/doc/sallyport-relay/examples/relay-addresses.conf
      printf '[Service]\nExecStartPre=/bin/sh /mnt/probe.sh\n' > /etc/systemd/system/sallyport-relay.service.d/probe.conf
      systemctl daemon-reload
      until curl -s -o /dev/null http://${UNNAMED}:8000/; do sleep 0.1; done
      word=$(runuser -u sallyport-proxy -- sallyport-proxy invite hq-1 --url wss://127.0.0.1:9443 | tail -n 1)
      runuser -u sallyport-relay -- sallyport-relay join "$word" --dir /etc/sallyport-relay --outbox /var/lib/sallyport-relay/outbox
      sed -i 's|^services:.*|services: [{ name: wpi, kind: tcp, upstream: "127.0.0.1:8080" }]|' /etc/sallyport-relay/relay.yaml
      systemctl enable --now sallyport-relay`);
      const said = await machine.must('journalctl -u sallyport-relay -o cat | grep ^probe');
      t.same(said.trim().split('\n'), [
        'probe writes /tmp',
        'probe writes /var/tmp',
        'probe writes /dev/shm',
        'probe writes /var/lib/sallyport-relay/outbox',
        'probe CapBnd:\t0000000000000000',
        'probe NoNewPrivs:\t1',
        'probe Seccomp:\t2',
        `probe reaches ${NAMED}`,
      ]);
      t.equal((await machine.sh('ls /tmp/probe /var/tmp/probe')).code, 2, 'its /tmp is its own');
      await machine.must(WELL);
      t.match(await machine.must(`sallyport-relay push ${DEVICE} --wait proxy`), /held/);
      await t.resolves(machine.must(polls(202)));
    },
  );

  await t.test('what dies is started again, and what was pending is', async (t) => {
    for (const unit of ['sallyport-proxy', 'sallyport-relay']) {
      const former = await show(unit, 'MainPID');
      await machine.must(`kill -KILL ${former}`);
      await machine.must(`for i in $(seq 100); do
        [ "$(systemctl show --property NRestarts --value ${unit})" = 1 ] && exit 0
        sleep 0.2
      done
      exit 1`);
      await t.resolves(machine.must(polls(202)), unit);
      t.not(await show(unit, 'MainPID'), former);
    }
  });

  await t.test('reload is heard, stop ends in order', async (t) => {
    await machine.must(WELL);
    for (const unit of ['sallyport-proxy', 'sallyport-relay']) {
      await machine.must(`systemctl reload ${unit}`);
      const found = `for i in $(seq 100); do journalctl -u ${unit} -o cat | grep -q '"msg":"reloaded"' && exit 0; sleep 0.2; done; exit 1`;
      await t.resolves(machine.must(found), unit);
      await machine.must(`systemctl stop ${unit}`);
      t.equal(await show(unit, 'Result'), 'success');
      t.equal(await show(unit, 'ExecMainStatus'), '0');
    }
  });

  await t.test('a bad config is not tried again and again', async (t) => {
    await machine.must(
      'echo "nonsense: yes" >> /etc/sallyport-proxy/proxy.yaml; systemctl start sallyport-proxy || true',
    );
    await machine.must(
      `for i in $(seq 100); do systemctl is-failed sallyport-proxy && exit 0; sleep 0.2; done; exit 1`,
    );
    t.equal(await show('sallyport-proxy', 'ExecMainStatus'), '2');
    t.equal(await show('sallyport-proxy', 'NRestarts'), '0');
  });
}

/** Asks the installed proxy, as a phone does, until it answers `status`; at most 20 s. */
export const polls = (status: number): string => `
  for i in $(seq 100); do
    said=$(curl -s -o /dev/null -w '%{http_code}' 'http://127.0.0.1:8080/dcmp/contact-me?device-id=${DEVICE}')
    [ "$said" = ${status} ] && exit 0
    sleep 0.2
  done
  echo "the poll is answered $said, not ${status}" >&2
  exit 1`;

const WELL = `for i in $(seq 100); do sallyport-relay health >/dev/null 2>&1 && exit 0; sleep 0.2; done; exit 1`;
