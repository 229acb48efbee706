import assert from 'node:assert/strict';
import fc from 'fast-check';
import t from 'tap';
import { replaceContactMe } from '../../../shared/wpi/contact-me-value.ts';
import { itemValue } from '../../../shared/wpi/message.ts';
import { readPhoneMessage } from '../../../shared/wpi/read.ts';
import { anyDocument, phoneDocument } from '../../fixtures/wpi-documents.ts';

const ADDRESS = 'http://10.0.0.5:8085/001ae8000001-00112233445566778899/contact_dls.html/ContactDLS';
const OLD = 'http://192.168.1.5:8085/contact_dls.html/ContactDLS';
const ITEM = `<Item name="contact-me-uri">${OLD}</Item>`;

function replaced(text: string, encoding: BufferEncoding = 'utf8'): { text: string; was: string } | string {
  const result = replaceContactMe(Buffer.from(text, encoding), ADDRESS);
  return 'body' in result ? { text: result.body.toString(encoding), was: result.was } : result.unchanged;
}

function message(item: string, options: Parameters<typeof phoneDocument>[0] = {}): string {
  return phoneDocument(options).replace('<ItemList>', `<ItemList>${item}`);
}

t.test('only the value changes, whatever stands around it', async (t) => {
  const spellings = [
    message(ITEM),
    message(ITEM, { declaration: '' }),
    message(ITEM, { namespace: false }),
    `\ufeff${message(ITEM)}`,
    message(ITEM).replaceAll('\n', '\r\n'),
    message(`<Item name="contact-me-uri">\r\n\t ${OLD} \n</Item>`),
    message(`<Item  index='0'\r\n name = 'contact-me-uri' ><x/>`.replace('<x/>', `${OLD}</Item\n>`)),
    message(`<Item label="a > b" name="contact-me-uri">${OLD}</Item>`),
    message(`<!-- ${ITEM} -->${ITEM}`),
    message(`<Item name="note"><![CDATA[${ITEM}]]></Item>${ITEM}`),
    message(`<Item name="contact-me-uri" status="failed"/>${ITEM}`),
    message(ITEM).replace('</ItemList>', '<Item name="owner">Jürgen à</Item></ItemList>'),
    message(ITEM).replaceAll(/<(\/?)(?=[A-Z])/g, '<$1w:'),
  ];
  for (const text of spellings) {
    const at = text.lastIndexOf(OLD);
    const expected = text.slice(0, at) + ADDRESS + text.slice(at + OLD.length);
    t.strictSame(replaced(text), { text: expected, was: OLD });
  }
});

t.test('Latin-1 bytes around the value stay', async (t) => {
  const text = message(`<Item name="owner">J\xfcrgen \xe0</Item>${ITEM}`, {
    declaration: '<?xml version="1.0" encoding="iso-8859-1"?>',
  });
  t.strictSame(replaced(text, 'latin1'), { text: text.replace(OLD, ADDRESS), was: OLD });
});

t.test('a value with references is replaced whole', async (t) => {
  const text = message('<Item name="contact-me-uri">http://phone/?a=1&amp;b=&#50;</Item>');
  const result = replaced(text);
  assert(typeof result === 'object');
  t.equal(result.was, 'http://phone/?a=1&b=2');
  t.equal(result.text, text.replace('http://phone/?a=1&amp;b=&#50;', ADDRESS));
});

t.test('an address is escaped as it goes in', async (t) => {
  const result = replaceContactMe(Buffer.from(message(ITEM)), 'http://relay/?a=1&b=<2>');
  assert('body' in result);
  t.match(result.body.toString(), 'http://relay/?a=1&amp;b=&lt;2&gt;</Item>');
});

t.test('where there is nothing to replace, nothing is', async (t) => {
  for (const item of [
    '',
    '<Item name="contact-me-uri"></Item>',
    '<Item name="contact-me-uri"/>',
    '<Item name="contact-me-uri" status="failed"></Item>',
    `<!-- ${ITEM} -->`,
    `<Item name="note"><![CDATA[${ITEM}]]></Item>`,
    `<Item name="contact-me-uri-2">${OLD}</Item>`,
    `<Other name="contact-me-uri">${OLD}</Other>`,
  ]) {
    t.equal(replaced(message(item)), 'none', item);
  }
  t.equal(replaced(`${message(ITEM)}<`), 'none', 'a message that is not well-formed');
  t.equal(replaced(message(ITEM).replace('<Message', '<!DOCTYPE x><Message')), 'none', 'a DOCTYPE');
});

t.test('where the value is unsure, nothing changes', async (t) => {
  for (const item of [
    ITEM + ITEM,
    `<Item name="contact-me-uri"><![CDATA[${OLD}]]></Item>`,
    `<Item name="contact-me-uri">http://<!-- x -->phone/</Item>`,
    `<Item name="contact-me-uri">http://<b/>phone/</Item>`,
    `<Item name="contact-me-uri">${OLD}<?pi?></Item>`,
  ]) {
    t.equal(replaced(message(item)), 'unsure', item);
  }
  const body = Buffer.from(message(ITEM));
  t.strictSame(
    replaceContactMe(body, `http://${'x'.repeat(250)}`),
    { unchanged: 'unsure' },
    'too long an address',
  );
  t.strictSame(replaceContactMe(body, 'http://a b/'), { unchanged: 'unsure' }, 'no address');
});

t.test('for any message: nothing outside the value changes, and it then reads as the address', async (t) => {
  const unit = fc.constantFrom(
    'x',
    '1',
    ' ',
    '\n',
    '\r\n',
    '\t',
    "'",
    '/',
    '=',
    'ü',
    'à',
    '&amp;',
    '&#65;',
    '>',
    ']',
  );
  const text = fc.string({ unit, maxLength: 20 });
  const wrapping = fc.constantFrom('', ' ', '\n', '\r\n  ');
  const noise = fc.oneof(
    text.map((value) => `<Item name="other">${value}</Item>`),
    fc.constantFrom(
      '<!-- c -->',
      `<!-- ${ITEM} -->`,
      '<Item name="x"><![CDATA[<y>]]></Item>',
      '<?pi x?>',
      '\n',
    ),
  );
  let changed = 0;
  fc.assert(
    fc.property(
      fc.array(noise, { maxLength: 3 }),
      fc.array(noise, { maxLength: 3 }),
      wrapping,
      text.filter((value) => value.trim() !== ''),
      fc.constantFrom('utf8' as const, 'latin1' as const),
      (before, after, blanks, value, encoding) => {
        const declaration = `<?xml version="1.0" encoding="${encoding === 'utf8' ? 'utf-8' : 'iso-8859-1'}"?>`;
        const head = `${before.join('')}<Item name="contact-me-uri">${blanks}`;
        const tail = `${blanks}</Item>${after.join('')}`;
        const old = value.replace(/^[ \t\r\n]+|[ \t\r\n]+$/g, '');
        const [left = '', right = ''] = value.split(old, 2);
        const [start = '', end = ''] = message('@', { declaration }).split('@');
        const whole = (inner: string): Buffer =>
          Buffer.from(start + head + left + inner + right + tail + end, encoding);
        const result = replaceContactMe(whole(old), ADDRESS);
        if (!('body' in result)) return;
        changed += 1;
        assert.deepStrictEqual(result.body, whole(ADDRESS));
        const read = readPhoneMessage(result.body);
        assert('items' in read);
        assert.equal(itemValue(read.items, 'contact-me-uri'), ADDRESS);
      },
    ),
    { numRuns: 1500 },
  );
  t.ok(changed > 1000, `most could be replaced: ${changed}`);
});

t.test(
  'whatever the document, and however it is damaged: one value is exchanged, or nothing at all',
  async (t) => {
    const value = fc.constantFrom(
      OLD,
      ` \r\n${OLD}\t`,
      'http://phone/?a=1&amp;b=&#50;',
      '',
      `<![CDATA[${OLD}]]>`,
      'x<b/>',
    );
    const items = fc.array(
      fc.oneof(
        { weight: 3, arbitrary: value.map((inner) => `<Item name="contact-me-uri">${inner}</Item>`) },
        {
          weight: 1,
          arbitrary: value.map(
            (inner) => `<Item index='1' name='contact-me-uri' status="ok">${inner}</Item >`,
          ),
        },
        {
          weight: 1,
          arbitrary: fc.constantFrom(`<!-- ${ITEM} -->`, `<Item name="x"><![CDATA[${ITEM}]]></Item>`),
        },
        { weight: 2, arbitrary: anyDocument() },
      ),
      { minLength: 1, maxLength: 3 },
    );
    const damage = fc.option(
      fc.tuple(fc.nat(), fc.nat(8), fc.constantFrom('', '<', '>', '"', '&', '/', '<!--', '-->', ']]>', '=')),
      { freq: 2 },
    );
    const encoding = fc.constantFrom('utf8' as const, 'latin1' as const);
    let changed = 0;
    fc.assert(
      fc.property(items, damage, encoding, fc.boolean(), (inside, hurt, coding, marked) => {
        const declaration = `<?xml version="1.0" encoding="${coding === 'utf8' ? 'utf-8' : 'iso-8859-1'}"?>`;
        const whole = (marked ? '\ufeff' : '') + message(inside.join('\n'), { declaration });
        const [at, length, put] = hurt ?? [0, 0, ''];
        const place = at % (whole.length + 1);
        const text = hurt === null ? whole : whole.slice(0, place) + put + whole.slice(place + length);
        const body = Buffer.from(text, coding);
        const before = Buffer.from(body);
        const result = replaceContactMe(body, ADDRESS);
        assert.deepStrictEqual(body, before, 'what came stays as it is');
        if (!('body' in result)) return;
        changed += 1;
        const start = result.body.indexOf(ADDRESS);
        const rest = result.body.subarray(start + ADDRESS.length);
        const end = body.length - rest.length;
        assert(start >= 0 && end >= start);
        assert.deepStrictEqual(result.body.subarray(0, start), body.subarray(0, start), 'before the value');
        assert.deepStrictEqual(rest, body.subarray(end), 'behind it');
        assert.doesNotMatch(
          body.toString('latin1', start, end),
          /<|^[ \t\r\n]|[ \t\r\n]$/,
          'the value and no white space',
        );
        assert.match(body.toString('latin1', 0, start), /contact-me-uri[^<]*>[ \t\r\n]*$/);
        assert.match(rest.toString('latin1'), /^[ \t\r\n]*<\//);
      }),
      { numRuns: 3000 },
    );
    t.ok(changed > 50, `changed: ${changed}`);
  },
);
