import assert from 'node:assert/strict';
import fc from 'fast-check';
import t from 'tap';
import { readDocument, WPI_SIZE_LIMIT, WPI_UNUSUAL_SIZE_LIMIT } from '../../../shared/wpi/document.ts';
import { decodeText, XML_DEPTH_LIMIT } from '../../../shared/wpi/element.ts';
import { readXmlWithLibrary } from '../../../shared/wpi/xml-library.ts';
import { readPlainXml } from '../../../shared/wpi/xml-plain.ts';
import { anyDocument } from '../../fixtures/wpi-documents.ts';

/** An element without what only the plain reader keeps. */
function bare(element: ReturnType<typeof readPlainXml>): unknown {
  if (element === null) return null;
  const { name, attributes, children, text, start } = element;
  return { name, attributes, children: children.map(bare), text, start };
}

t.test('the plain reader agrees with the library on every document that it reads', async (t) => {
  let plain = 0;
  fc.assert(
    fc.property(anyDocument(), (text) => {
      const fast = readPlainXml(text);
      if (fast === null) return;
      plain += 1;
      assert.deepStrictEqual(bare(fast), bare(readXmlWithLibrary(text)));
    }),
    { numRuns: 3000 },
  );
  t.ok(plain > 500, `the comparison had something to compare: ${plain}`);
});

t.test('random bytes and damaged documents are refused or read, never thrown at', async (t) => {
  fc.assert(
    fc.property(
      fc.oneof(
        fc.uint8Array({ maxLength: 300 }),
        anyDocument().map((text) => Buffer.from(text, 'latin1')),
      ),
      (bytes) => {
        const document = readDocument(Buffer.from(bytes));
        return 'root' in document || typeof document.unreadable === 'string';
      },
    ),
    { numRuns: 3000 },
  );
  t.pass('none threw');
});

t.test('a DOCTYPE is refused wherever it stands', async (t) => {
  for (const text of [
    '<!DOCTYPE a [<!ENTITY x "y">]><a>&x;</a>',
    '<!doctype a><a/>',
    '<?xml version="1.0"?>\n<!DOCTYPE a SYSTEM "file:///etc/passwd"><a/>',
    '<a><!DOCTYPE a></a>',
  ]) {
    t.strictSame(readDocument(Buffer.from(text)), { unreadable: 'DOCTYPE' }, text);
  }
});

t.test('what is not well-formed is refused', async (t) => {
  for (const text of [
    '<a>',
    '<a></b>',
    '<a/><b/>',
    '<a/>text',
    'text<a/>',
    '<a x=1/>',
    '<a x="1" x="2"/>',
    '<a>&</a>',
    '<a><!ELEMENT b></a>',
    '<!-- <a/>',
    '<a><![CDATA[x</a>',
    '{"json": true}',
  ]) {
    t.match(readDocument(Buffer.from(text)), { unreadable: 'not well-formed' }, text);
  }
});

t.test('an encoding that is declared out of sight, or not plainly, is not guessed at', async (t) => {
  const late = ' '.repeat(1_000);
  for (const declaration of [
    `<?xml version="1.0"${late}encoding="utf-7"?>`,
    `<?xml version="1.0" encoding="${'x'.repeat(1_000)}"?>`,
    '<?xml version="1.0" encoding=utf-7?>',
    '<?xml version="1.0" encoding="utf 7"?>',
    '<?xml version="1.0" encoding="utf-7"',
  ]) {
    t.strictSame(readDocument(Buffer.from(`${declaration}<a/>`)), { unreadable: 'unknown encoding' });
  }
  t.match(readDocument(Buffer.from('<?xml version="1.0"?><a x="encoding"/>')), { encoding: 'utf-8' });
});

t.test('depth and size have limits', async (t) => {
  const nested = (levels: number): Buffer => Buffer.from('<a>'.repeat(levels) + '</a>'.repeat(levels));
  t.ok('root' in readDocument(nested(XML_DEPTH_LIMIT)));
  t.strictSame(readDocument(nested(XML_DEPTH_LIMIT + 1)), { unreadable: 'not well-formed' });
  const sized = (size: number, head: string): Buffer =>
    Buffer.from(`${head}<a>${' '.repeat(size - head.length - 7)}</a>`);
  t.ok('root' in readDocument(sized(WPI_SIZE_LIMIT, '')));
  t.strictSame(readDocument(sized(WPI_SIZE_LIMIT + 1, '')), { unreadable: 'too large' });
  t.ok('root' in readDocument(sized(WPI_UNUSUAL_SIZE_LIMIT, '<!---->')));
  t.match(readDocument(sized(WPI_UNUSUAL_SIZE_LIMIT + 1, '<!---->')), { unreadable: /^faulty or unusual/ });
  t.strictSame(readDocument(Buffer.alloc(0)), { unreadable: 'empty' });
});

t.test('a message made to be slow is not', async (t) => {
  const hostile = [
    `<a${' '.repeat(900_000)}`,
    `<a${' x'.repeat(400_000)}`,
    `<a${Array.from({ length: 60_000 }, (_, n) => ` a${n}=""`).join('')}/>`,
    `<a x="${"'".repeat(900_000)}`,
    '<a>'.repeat(300_000),
    `<a>${'&'.repeat(900_000)}</a>`,
    `<${'a'.repeat(900_000)}`,
    `<?xml ${'a="" '.repeat(150_000)}`,
    '<!'.repeat(400_000),
    '</a>'.repeat(200_000),
    `<!--${'<a b='.repeat(20_000)}`,
  ];
  for (const text of hostile) {
    const before = performance.now();
    readDocument(Buffer.from(text));
    const took = performance.now() - before;
    t.ok(took < 10_000, `${text.slice(0, 12)}… took ${took.toFixed(0)} ms`);
  }
});

t.test('references are decoded once, and unknown ones stay', async (t) => {
  t.equal(decodeText('&amp;lt; &lt; &#65;&#x42; &quot;&apos;', 'utf-8'), '&lt; < AB "\'');
  t.equal(decodeText('&nosuch; &#0; &#xd800; &#1114112;', 'utf-8'), '&nosuch; &#0; &#xd800; &#1114112;');
  t.equal(decodeText('&amp;', 'utf-8', false), '&amp;');
});
