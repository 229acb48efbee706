import t from 'tap';
import { parseDeviceId } from '../../../shared/device-id.ts';
import type { DeviceId } from '../../../shared/device-id.ts';
import { startApi } from '../../fixtures/start-api.ts';

const MAC = '00:1A:E8:00:00:01';
const PATH = `/v1/devices/${MAC}/messages`;
const ACTIONS = [{ action: 'WriteItems', items: [{ name: 'realm', value: 'x' }] }];
const XML =
  '<DLSMessage><Message><Action>WriteItems</Action><ItemList><Item name="realm">x</Item></ItemList></Message></DLSMessage>';

t.test('actions are held, in whichever writing they come', async (t) => {
  const { ask, outbox } = await startApi(t);
  for (const actions of [ACTIONS, XML, [XML]]) {
    const { status, json } = await ask('POST', PATH, { kind: 'dls', actions, key: 'the same' });
    t.equal(status, actions === ACTIONS ? 201 : 200, 'the same content under the same key');
    t.equal((await outbox.message(String(json['id'])))?.actions, JSON.stringify(ACTIONS));
  }
  const other = { kind: 'dls', actions: [{ action: 'Restart' }] };
  t.match(await ask('POST', PATH, { ...other, key: 'the same' }), { status: 409 });
  t.match(await ask('POST', PATH, other), { status: 201, json: { generation: 2 } });
  t.match(await ask('GET', `/v1/devices/${MAC}`), { json: { pending: 2 } }, 'they do not coalesce');
  t.match(await ask('POST', PATH, { ...other, replace: true }), { status: 201 });
  t.match(await ask('GET', `/v1/devices/${MAC}`), { json: { pending: 1 } });
});

t.test('wrong actions are refused by their place, and nothing is stored', async (t) => {
  const { ask, outbox } = await startApi(t);
  const wrong: [actions: unknown, field: string][] = [
    [undefined, 'actions'],
    [7, 'actions'],
    [[{ action: 'Explode' }], 'actions.0.action'],
    [[...ACTIONS, { action: 'WriteItems', items: [{ name: '', value: '' }] }], 'actions.1.items.0.name'],
    [[{ action: 'WriteItems', items: [{ name: 'a', index: 'b', value: '' }] }], 'actions.0.items.0.index'],
    [[{ action: 'WriteItems', items: [{ name: 'a', value: '\u0000' }] }], 'actions.0.items.0.value'],
    [`<!DOCTYPE x>${XML}`, 'actions'],
  ];
  for (const [actions, field] of wrong) {
    const { status, json } = await ask('POST', PATH, { kind: 'dls', actions });
    t.match({ status, json }, { status: 400, json: { code: 'REQUEST_INVALID', field } });
  }
  t.equal((await outbox.counts()).accepted, 0);
});

t.test('a relay that reads no sessions takes no actions', async (t) => {
  const { ask, view, outbox } = await startApi(t);
  view.state.services = view.state.services.map((service) => ({ ...service, kind: 'tcp' }));
  t.match(await ask('POST', PATH, { kind: 'dls', actions: ACTIONS }), {
    status: 400,
    json: { field: 'kind', message: /of kind wpi/ },
  });
  t.equal((await outbox.counts()).accepted, 0);
});

t.test('bulk pushes carry actions, each line its own', async (t) => {
  const { url, outbox } = await startApi(t);
  const lines = ['aa', 'bb', 'cc'].map((device, i) => ({
    device,
    kind: 'dls',
    actions: i === 1 ? [{ action: 'Explode' }] : ACTIONS,
  }));
  const response = await fetch(`${url}/v1/messages`, {
    method: 'POST',
    headers: { 'content-type': 'application/x-ndjson' },
    body: lines.map((line) => JSON.stringify(line)).join('\n'),
  });
  const results = (await response.text())
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as object);
  t.match(results, [{ status: 201 }, { status: 400, field: 'actions.0.action' }, { status: 201 }]);
  t.equal((await outbox.counts()).held, 2);
});

t.test('results are shown whole with their message, and without items in lists', async (t) => {
  const { ask, outbox } = await startApi(t);
  const { json } = await ask('POST', PATH, { kind: 'dls', actions: ACTIONS });
  const id = String(json['id']);
  t.match(await ask('GET', `/v1/messages/${id}`), { json: { kind: 'dls', results: [] } });
  const item = { name: 'realm', status: 'accepted', value: 'x' };
  const results = JSON.stringify([{ action: 'ReadItems', status: 'accepted', at: 0, items: [item] }]);
  await outbox.end(id, { state: 'cleared', by: 'courier', results });
  const whole = await ask('GET', `/v1/messages/${id}`);
  t.match(whole.json, { state: 'cleared', ended_by: 'courier', results_dropped: false });
  t.strictSame(whole.json['results'], [
    { action: 'ReadItems', status: 'accepted', at: '1970-01-01T00:00:00.000Z', items: [item] },
  ]);
  const list = await ask('GET', PATH);
  t.match(list.json, { messages: [{ results: [{ status: 'accepted', items: [], truncated: true }] }] });
  t.notOk(list.text.includes('realm'));
});

t.test('results that had to go are said to be gone', async (t) => {
  const { ask, outbox } = await startApi(t, { outboxLimits: { resultBytes: 1 } });
  const device = parseDeviceId(MAC) as DeviceId;
  const { message } = await outbox.push({ device, kind: 'dls', ttl: 1e6, delay: 0, actions: '[]' });
  await outbox.end(message.id, { state: 'cleared', by: 'courier', results: '[]' });
  t.match(await ask('GET', `/v1/messages/${message.id}`), { json: { results: [], results_dropped: true } });
});
