import fc from 'fast-check';
import t from 'tap';
import {
  ActionFault,
  HELD_ACTIONS,
  readActions,
  storedActions,
} from '../../../relay-client/courier/actions.ts';
import { COURIER_LIMITS } from '../../../relay-client/courier/limits.ts';
import { buildServiceMessage } from '../../../shared/wpi/build.ts';

const write = (...items: object[]) => [{ action: 'WriteItems', items }];

/** The place that is named as wrong; null where all is taken. */
function fault(input: unknown): string | null {
  try {
    readActions(input);
    return null;
  } catch (error) {
    if (!(error instanceof ActionFault)) throw error;
    return error.field;
  }
}

t.test('JSON is taken in one canonical form', async (t) => {
  t.strictSame(
    readActions([
      {
        action: 'writeitems',
        items: [
          { name: 'a', value: 1 },
          { name: 'b', index: 2, value: true },
          { name: 'c', index: '3', value: '' },
        ],
      },
      { action: 'ReadItems', items: ['d', { name: 'e', index: 0 }] },
      { action: 'ReadAllItems' },
      { action: 'Restart', items: [] },
    ]),
    [
      {
        action: 'WriteItems',
        items: [
          { name: 'a', value: '1' },
          { name: 'b', index: '2', value: 'true' },
          { name: 'c', index: '3', value: '' },
        ],
      },
      { action: 'ReadItems', items: [{ name: 'd' }, { name: 'e', index: '0' }] },
      { action: 'ReadAllItems', items: [] },
      { action: 'Restart', items: [] },
    ],
  );
});

t.test('WPI documents come to the same as JSON', async (t) => {
  const actions = readActions([
    { action: 'WriteItems', items: [{ name: 'a', index: 1, value: 'Ä & <b>' }] },
    { action: 'ReadItems', items: ['b'] },
  ]);
  const documents = actions.map(({ action, items }) =>
    buildServiceMessage({ nonce: 'N', action, items }).toString('utf8'),
  );
  t.strictSame(readActions(documents), actions, 'a list of documents');
  t.strictSame(readActions(documents[0]), actions.slice(0, 1), 'one');
  const bare = documents.map((each) => each.replace(/^<\?xml.*\?>/, '')).join('');
  t.strictSame(readActions(`<list>${bare}</list>`), actions, 'an element with several');
  t.strictSame(storedActions(JSON.stringify(actions)), actions);
});

t.test('what is wrong is named by its place', async (t) => {
  const wrong: [input: unknown, field: string][] = [
    [undefined, 'actions'],
    [{}, 'actions'],
    [[], 'actions'],
    [[5], 'actions.0'],
    [[{ action: 'Fly', items: [] }], 'actions.0.action'],
    [[{ action: 'CleanUp', items: [] }], 'actions.0.action'],
    [[{ action: 'GetNextFragment' }], 'actions.0.action'],
    [[{ action: 'ReadAllItems' }, { items: [] }], 'actions.1.action'],
    [[{ action: 'Restart', items: {} }], 'actions.0.items'],
    [[{ action: 'Restart', nonce: 'x' }], 'actions.0.nonce'],
    [[{ action: 'WriteItems', items: [] }], 'actions.0.items'],
    [[{ action: 'ReadAllItems', items: ['a'] }], 'actions.0.items'],
    [[{ action: 'FileDeployment', items: [{ name: 'file-type', value: 'LOGO' }] }], 'actions.0.items'],
    [[{ action: 'SoftwareDeployment', items: [{ name: 'file-pwd', value: 'x' }] }], 'actions.0.items'],
    [[{ action: 'ReadItems', items: [{ name: 'a', value: 'x' }] }], 'actions.0.items.0.value'],
    [write('a' as unknown as object), 'actions.0.items.0'],
    [write({ name: 'a', value: 'x' }, { name: '1a', value: '' }), 'actions.0.items.1.name'],
    [write({ name: 'a b', value: '' }), 'actions.0.items.0.name'],
    [write({ name: `a${'b'.repeat(64)}`, value: '' }), 'actions.0.items.0.name'],
    [write({ name: 'a', index: -1, value: '' }), 'actions.0.items.0.index'],
    [write({ name: 'a', index: 1.5, value: '' }), 'actions.0.items.0.index'],
    [write({ name: 'a', index: '01', value: '' }), 'actions.0.items.0.index'],
    [write({ name: 'a', index: 70_000, value: '' }), 'actions.0.items.0.index'],
    [write({ name: 'a', value: null }), 'actions.0.items.0.value'],
    [write({ name: 'a', value: 'bell\u0007' }), 'actions.0.items.0.value'],
    [write({ name: 'a', value: '\ud800' }), 'actions.0.items.0.value'],
    [write({ name: 'a', value: 'x'.repeat(COURIER_LIMITS.valueBytes + 1) }), 'actions.0.items.0.value'],
    [write({ name: 'a', value: '', status: 'secure' }), 'actions.0.items.0.status'],
    ['', 'actions'],
    ['<DLSMessage', 'actions'],
    ['<!DOCTYPE a><DLSMessage/>', 'actions'],
    ['<a/>', 'actions'],
    ['<WorkpointMessage/>', 'actions'],
    ['<l><DLSMessage><Message><Action>Restart</Action></Message></DLSMessage><b/></l>', 'actions.1'],
    [['<DLSMessage><Message><Action>Fly</Action></Message></DLSMessage>'], 'actions.0.action'],
    [Array(COURIER_LIMITS.actions + 1).fill({ action: 'Restart' }), 'actions'],
    [Array(3).fill({ action: 'ReadItems', items: Array(2_000).fill('a') }) as unknown, 'actions'],
    [
      write(...Array.from({ length: 4 }, (_, i) => ({ name: `a${i}`, index: 1, value: '&'.repeat(3_000) }))),
      'actions.0.items',
    ],
  ];
  for (const [input, field] of wrong) {
    t.equal(fault(input), field, JSON.stringify(input)?.slice(0, 80) ?? 'undefined');
  }
});

t.test('no value is quoted in a refusal', async (t) => {
  const secret = 'hunter2';
  for (const input of [
    write({ name: 'sip-pwd', value: `${secret}\u0001` }),
    `<DLSMessage><Message><Action>WriteItems</Action><ItemList><Item name="sip-pwd">${secret}</Wrong>`,
    [{ action: 'ReadItems', items: [{ name: 'sip-pwd', value: secret }] }],
    write({ name: `${secret} x`, value: '' }),
  ]) {
    try {
      readActions(input);
      t.fail('it was taken');
    } catch (error) {
      t.notOk(String(error).includes(secret), String(error).slice(0, 100));
    }
  }
});

t.test('whatever comes is either taken whole or refused, and what is taken stays as it is', async () => {
  const item = fc.oneof(
    fc.anything(),
    fc.record({ name: fc.string(), index: fc.anything(), value: fc.anything() }, { requiredKeys: [] }),
  );
  const input = fc.oneof(
    fc.anything(),
    fc.array(fc.record({ action: fc.constantFrom(...HELD_ACTIONS, 'x'), items: fc.array(item) })),
  );
  fc.assert(
    fc.property(input, (given) => {
      if (fault(given) !== null) return;
      const actions = readActions(given);
      if (JSON.stringify(readActions(actions)) !== JSON.stringify(actions)) throw new Error('it changed');
    }),
    { numRuns: 500 },
  );
});
