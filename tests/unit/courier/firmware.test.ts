import t from 'tap';
import { startLab } from './lab.ts';

/** The version that the simulated phones begin with. */
const OLD = 'V3 R1.41.1';
const NEW = 'V3 R5.12.0';

const deploy = (version: string) => [
  {
    action: 'SoftwareDeployment',
    items: [
      { name: 'file-name', value: 'opera_bind.img' },
      { name: 'file-sw-version', value: version },
    ],
  },
];

t.test('new software is sent once, and its start-up ends the message', async (t) => {
  const { hold, phone, look, until } = await startLab(t);
  const { id } = await hold(deploy(NEW));
  const one = phone({ rebootMs: 0 });
  await one.openSession('solicited');
  await until(async () => (await look(id)).state === 'cleared');
  t.match((await look(id)).read, [{ action: 'SoftwareDeployment', status: 'done' }]);
});

t.test('a phone that runs the version already is sent nothing', async (t) => {
  const { hold, phone, look, until } = await startLab(t);
  const { id } = await hold(deploy(` ${OLD.toLowerCase()}`));
  const one = phone();
  await one.openSession('solicited');
  await until(async () => (await look(id)).state === 'cleared');
  t.match((await look(id)).read, [{ status: 'done', why: 'the phone runs this version already' }]);
  t.notOk(one.exchanges.some(({ answer }) => String(answer).includes('SoftwareDeployment')));
});

t.test('a second deployment within the gap is put off, and other work goes on', async (t) => {
  const { hold, phone, look, until, outbox } = await startLab(t, { config: { softwareGap: 60_000 } });
  const first = await hold(deploy(NEW));
  const one = phone({ rebootMs: 0 });
  await one.openSession('solicited');
  await until(async () => (await look(first.id)).state === 'cleared');
  const again = await hold(deploy('V3 R6.0.0'));
  const read = await hold([{ action: 'ReadItems', items: ['e164'] }]);
  await one.openSession('solicited');
  await until(async () => (await look(read.id)).state === 'cleared');
  const put = await look(again.id);
  t.equal(put.state, 'held');
  t.ok(put.dueIn > 50_000 && put.dueIn <= 60_000, `due in ${put.dueIn} ms`);
  t.equal(put.read.length, 0);
  t.match(await outbox.counts(), { held: 1 });
});

t.test('what was put off is sent once the gap is over', async (t) => {
  const { hold, phone, look, until } = await startLab(t, { config: { softwareGap: 1_200 } });
  const first = await hold(deploy(NEW));
  const one = phone({ rebootMs: 0 });
  await one.openSession('solicited');
  await until(async () => (await look(first.id)).state === 'cleared');
  const again = await hold(deploy('V3 R6.0.0'));
  await one.openSession('solicited');
  t.match(await look(again.id), { state: 'held' });
  await until(async () => (await look(again.id)).awaitedFor === null);
  await one.openSession('solicited');
  await until(async () => (await look(again.id)).state === 'cleared');
  t.match((await look(again.id)).read, [{ status: 'done' }]);
});
