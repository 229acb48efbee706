import assert from 'node:assert/strict';
import fc from 'fast-check';
import t from 'tap';
import { buildPhoneMessage, buildServiceMessage } from '../../../shared/wpi/build.ts';
import { fitsXml } from '../../../shared/wpi/escape.ts';
import { readPhoneMessage, readServiceMessage } from '../../../shared/wpi/read.ts';

const NONCE = '00112233445566778899AABBCCDDEEFF';

t.test('a service message is written as known phones expect it', async (t) => {
  const body = buildServiceMessage({
    nonce: NONCE,
    action: 'WriteItems',
    items: [
      { name: 'realm', value: 'a & b' },
      { name: 'alert', index: 1, status: 'secure', value: 'x' },
    ],
  });
  t.equal(
    body.toString(),
    [
      '<?xml version="1.0" encoding="utf-8"?>',
      '<DLSMessage xmlns="http://www.siemens.com/DLS">',
      `<Message nonce="${NONCE}">`,
      '<Action>WriteItems</Action>',
      '<ItemList>',
      '<Item name="realm">a &amp; b</Item>',
      '<Item name="alert" index="1" status="secure">x</Item>',
      '</ItemList>',
      '</Message>',
      '</DLSMessage>',
      '',
    ].join('\n'),
  );
});

t.test('a phone message is written as known services expect it', async (t) => {
  const body = buildPhoneMessage({
    nonce: NONCE,
    reason: 'reply-to',
    action: 'ReadItems',
    status: 'accepted',
    fragment: 'final',
  });
  t.equal(
    body.toString(),
    [
      '<?xml version="1.0" encoding="utf-8"?>',
      '<WorkpointMessage xmlns="http://www.siemens.com/DLS">',
      `<Message nonce="${NONCE}" maxItems="-1" fragment="final">`,
      '<ReasonForContact action="ReadItems" status="accepted">reply-to</ReasonForContact>',
      '</Message>',
      '</WorkpointMessage>',
      '',
    ].join('\n'),
  );
});

/** Text that XML can hold and that reading does not trim. */
const text = fc
  .string({
    unit: fc.oneof(
      fc.constantFrom('<', '>', '&', '"', "'", ']]>', '\n', '\r', '\t', ' ', 'à'),
      fc.string({ unit: 'grapheme', maxLength: 1 }),
    ),
  })
  .filter(fitsXml)
  .map((value) => value.trim());

t.test('what is written reads back the same', async (t) => {
  const item = fc.record(
    {
      name: text,
      index: fc.option(fc.nat(99).map(String)),
      status: fc.constant(null),
      value: text,
    },
    { noNullPrototype: true },
  );
  fc.assert(
    fc.property(text, fc.array(item, { maxLength: 4 }), (nonce, items) => {
      const written = items.map(({ name, index, value }) => ({
        name,
        value,
        ...(index === null ? {} : { index }),
      }));
      const service = readServiceMessage(
        buildServiceMessage({ nonce, action: 'WriteItems', items: written }),
      );
      assert.deepStrictEqual(service, { nonce, action: 'WriteItems', items });
      const phone = readPhoneMessage(buildPhoneMessage({ nonce, reason: 'start-up', items: written }));
      assert('items' in phone);
      assert.deepStrictEqual([phone.nonce, phone.items], [nonce, items]);
    }),
    { numRuns: 500 },
  );
  t.pass('all read back');
});

t.test('a value that XML cannot hold is refused without being quoted', async (t) => {
  for (const bad of ['sec\0ret', 'sec\x1bret', 'sec\ud800ret', 'sec\uffferet']) {
    for (const make of [
      () => buildServiceMessage({ nonce: bad, action: 'CleanUp' }),
      () => buildServiceMessage({ nonce: '', action: 'WriteItems', items: [{ name: 'x', value: bad }] }),
      () => buildServiceMessage({ nonce: '', action: 'WriteItems', items: [{ name: bad }] }),
      () => buildPhoneMessage({ nonce: '', reason: bad }),
    ]) {
      t.throws(make, { code: 'REQUEST_INVALID', message: /^(?!.*sec)/s });
    }
  }
});
