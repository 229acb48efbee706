import fc from 'fast-check';
import t from 'tap';
import { itemValue } from '../../../shared/wpi/message.ts';
import { readPhoneMessage, readServiceMessage } from '../../../shared/wpi/read.ts';
import { anyDocument, phoneDocument } from '../../fixtures/wpi-documents.ts';

const NONCE = '00112233445566778899AABBCCDDEEFF';

function phone(text: string, encoding: BufferEncoding = 'utf8') {
  const message = readPhoneMessage(Buffer.from(text, encoding));
  if ('unreadable' in message) throw new Error(message.unreadable);
  return message;
}

function service(text: string) {
  const message = readServiceMessage(Buffer.from(text));
  if ('unreadable' in message) throw new Error(message.unreadable);
  return message;
}

t.test('a start-up message is read', async (t) => {
  const message = phone(
    phoneDocument({
      items: [
        ['mac-addr', '00:1A:E8:00:00:01'],
        ['contact-me-uri', 'http://192.168.1.5:8085/contact_dls.html/ContactDLS'],
        ['e164', '0123456789'],
      ],
    }),
  );
  t.strictSame(message, {
    nonce: NONCE,
    maxItems: null,
    fragment: null,
    reason: 'start-up',
    action: null,
    status: null,
    items: [
      { name: 'mac-addr', index: null, status: null, value: '00:1A:E8:00:00:01' },
      {
        name: 'contact-me-uri',
        index: null,
        status: null,
        value: 'http://192.168.1.5:8085/contact_dls.html/ContactDLS',
      },
      // Digits stay text: a telephone number has leading zeros.
      { name: 'e164', index: null, status: null, value: '0123456789' },
    ],
  });
});

t.test('a reply is read whatever the order of its attributes', async (t) => {
  for (const attributes of [
    'action="ReadItems" status="Accepted"',
    "status = 'accepted'\n action='READITEMS'",
  ]) {
    const message = phone(
      `<WorkpointMessage><Message maxItems="20" fragment="Next" nonce="a1"><ReasonForContact ${attributes}>reply-to` +
        '</ReasonForContact><ItemList><Item status="failed" name="nosuch" index="1"/></ItemList></Message></WorkpointMessage>',
    );
    t.match(message, {
      nonce: 'a1',
      maxItems: 20,
      fragment: 'next',
      action: 'ReadItems',
      status: 'accepted',
    });
    t.strictSame(message.items, [{ name: 'nosuch', index: '1', status: 'failed', value: '' }]);
  }
});

t.test('a phone may spell its message in many ways', async (t) => {
  const usual = phone(phoneDocument());
  const spellings: Record<string, string> = {
    'no namespace': phoneDocument({ namespace: false }),
    'no declaration': phoneDocument({ declaration: '' }),
    'another root': phoneDocument({ root: 'DLSMessage' }),
    'blanks around values': phoneDocument({ blanks: '\r\n\t  ' }),
    'byte order mark': `\ufeff${phoneDocument()}`,
    'latin-1': phoneDocument({ declaration: '<?xml version="1.0" encoding="ISO-8859-1"?>' }),
    'carriage returns': phoneDocument().replaceAll('\n', '\r\n'),
    comments: phoneDocument().replace('<Message', '<!-- <Message nonce="x"> --><Message'),
    CDATA: phoneDocument().replace('00:1A:E8:00:00:01', '<![CDATA[00:1A:E8:00:00:01]]>'),
    'a prefix': phoneDocument().replaceAll(/<(\/?)(?=[A-Z])/g, '<$1w:'),
    'list outside Message': phoneDocument().replace(
      /(<ItemList>.*<\/ItemList>)\n<\/Message>/,
      '</Message>$1',
    ),
  };
  for (const [name, text] of Object.entries(spellings)) t.strictSame(phone(text), usual, name);
  const onReason = phoneDocument().replace('<ReasonForContact', '<ReasonForContact fragment="final"');
  t.equal(phone(onReason).fragment, 'final');
});

t.test('values beyond ASCII are read in the declared encoding', async (t) => {
  const items = [['device-name', 'Büro à 1 & 2'.replace('&', '&amp;')]] as const;
  t.equal(phone(phoneDocument({ items })).items[0]?.value, 'Büro à 1 & 2');
  const latin = phoneDocument({ items, declaration: "<?xml version='1.0' encoding='iso-8859-1'?>" });
  t.equal(phone(latin, 'latin1').items[0]?.value, 'Büro à 1 & 2');
  t.strictSame(readPhoneMessage(Buffer.from(phoneDocument(), 'utf16le')), { unreadable: 'unknown encoding' });
  const ebcdic = phoneDocument({ declaration: '<?xml version="1.0" encoding="ebcdic-cp-us"?>' });
  t.strictSame(readPhoneMessage(Buffer.from(ebcdic)), { unreadable: 'unknown encoding' });
});

t.test('what is no phone message says why, in words that quote nothing', async (t) => {
  const two = phoneDocument().replace(/<Message.*<\/Message>/s, '$&$&');
  const cases: [string, string][] = [
    [two, 'not one Message'],
    ['<WorkpointMessage/>', 'not one Message'],
    ['<html><body/></html>', 'unknown root'],
    [phoneDocument().replace(/<ReasonForContact.*<\/ReasonForContact>/, ''), 'not one ReasonForContact'],
    [phoneDocument({ reason: '' }), 'not one ReasonForContact'],
    [`${phoneDocument()}<secret`, 'not well-formed'],
  ];
  for (const [text, why] of cases) t.strictSame(readPhoneMessage(Buffer.from(text)), { unreadable: why });
});

t.test('an item named twice has a value only where both agree', async (t) => {
  const items = (...values: string[]) =>
    values.map((value) => ({ name: 'mac-addr', index: null, status: null, value }));
  t.equal(itemValue(items('a', 'a'), 'mac-addr'), 'a');
  t.equal(itemValue(items('a', 'b'), 'mac-addr'), null);
  t.equal(itemValue(items('', 'b'), 'mac-addr'), 'b');
  t.equal(itemValue([{ name: 'mac-addr', index: null, status: 'failed', value: 'x' }], 'mac-addr'), null);
});

t.test('a service may spell its answer in many ways', async (t) => {
  const kernel = (root: string) =>
    `<${root} xmlns="http://www.siemens.com/DLS"><Message nonce="${NONCE}"><Action>CleanUp</Action></Message></${root}>`;
  const signed = (inner: string) =>
    '<?xml version="1.0" encoding="UTF-8"?>\n<Signature xmlns="http://www.w3.org/2000/09/xmldsig#"><SignedInfo>' +
    '<Reference URI="#DLSMessage"><DigestValue>x</DigestValue></Reference></SignedInfo><SignatureValue>y' +
    `</SignatureValue><Object Id="DLSMessage">${inner}</Object></Signature>`;
  const usual = { nonce: NONCE, action: 'CleanUp', items: [] };
  const spellings: Record<string, string> = {
    DLSMessage: kernel('DLSMessage'),
    DlsMessage: kernel('DlsMessage'),
    signed: signed(kernel('DLSMessage')),
    'signed with a stray closing tag': signed(`${kernel('DLSMessage')}</Object>`),
    'signed with a prefix': signed(
      kernel('d:DLSMessage')
        .replace('xmlns=', 'xmlns:d=')
        .replaceAll(/<(\/?)(?=[AM])/g, '<$1d:'),
    ),
    'empty reason': kernel('DLSMessage').replace('<Action>', '<ReasonForContact/><Action>'),
    'line breaks': kernel('DLSMessage').replace('CleanUp', '\r\n  cleanup\r\n'),
  };
  for (const [name, text] of Object.entries(spellings)) t.strictSame(service(text), usual, name);
});

t.test('a broken signature around two messages, or around a comment, is not guessed at', async (t) => {
  const kernel = '<DLSMessage><Message nonce="1"><Action>CleanUp</Action></Message></DLSMessage>';
  for (const inner of [
    kernel + kernel,
    `<!-- ${kernel} -->`,
    '<DLSMessage>',
    `${kernel.replace('</Message>', '')}`,
  ]) {
    t.match(readServiceMessage(Buffer.from(`<Signature><Object>${inner}</Object></Object></Signature>`)), {
      unreadable: String,
    });
  }
});

t.test('an answer without an Action is unreadable', async (t) => {
  for (const action of ['', '<Action/>', '<Action>CleanUp</Action><Action>ReadItems</Action>']) {
    const text = `<DLSMessage><Message nonce="1">${action}</Message></DLSMessage>`;
    t.strictSame(readServiceMessage(Buffer.from(text)), { unreadable: 'not one Action' });
  }
});

t.test('no bytes make a reader throw', async (t) => {
  fc.assert(
    fc.property(
      fc.oneof(
        fc.uint8Array({ maxLength: 200 }).map((bytes) => Buffer.from(bytes)),
        anyDocument().map((text) => Buffer.from(text, 'latin1')),
        fc.tuple(fc.nat(), fc.string({ maxLength: 4 })).map(([at, text]) => {
          const whole = phoneDocument();
          return Buffer.from(whole.slice(0, at % whole.length) + text + whole.slice((at % whole.length) + 2));
        }),
      ),
      (body) => {
        readPhoneMessage(body);
        readServiceMessage(body);
      },
    ),
    { numRuns: 2000 },
  );
  t.pass('none threw');
});
