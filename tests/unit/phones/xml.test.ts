import fc from 'fast-check';
import t from 'tap';
import { escapeXml, findAll, parseXml } from '../../phones/xml.ts';

t.test('elements, attributes in either quotes, comments, CDATA and entities are read', async (t) => {
  const root = parseXml(
    '<?xml version="1.0"?>\n<!-- a --><p:a x="1 &lt; 2" y = \'"\'><b/>t&#228;xt<![CDATA[<&]]><c >&quot;&amp;</c ></p:a>\n',
  );
  t.equal(root.name, 'p:a');
  t.strictSame(root.attributes, { x: '1 < 2', y: '"' });
  t.equal(root.text, 'täxt<&');
  t.strictSame(
    root.children.map((child) => [child.name, child.text]),
    [
      ['b', ''],
      ['c', '"&'],
    ],
  );
});

t.test('what is not well-formed is refused', async (t) => {
  const wrong = [
    '',
    'text',
    '<a>',
    '<a></b>',
    '<a></ab>',
    '<a/><b/>',
    '<a/>text',
    'text<a/>',
    '<a x=1/>',
    '<a x="1" x="2"/>',
    '<a>&nbsp;</a>',
    '<a>& b</a>',
    '<a>&#0;</a>',
    '<!DOCTYPE a><a/>',
    '<a><!-- </a>',
    `${'<a>'.repeat(33)}${'</a>'.repeat(33)}`,
  ];
  for (const text of wrong) t.throws(() => parseXml(text), { name: 'XmlFault' }, text.slice(0, 40));
});

t.test('names are found below the root, whatever their case and prefix', async (t) => {
  const root = parseXml('<Signature><d:DlsMessage><Item/><x><Item/></x></d:DlsMessage></Signature>');
  t.equal(findAll(root, 'DLSMessage').length, 1);
  t.equal(findAll(root, 'Item').length, 2);
});

t.test('any text survives being written and read', async () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary' }), (text) => {
      const root = parseXml(`<a b="${escapeXml(text)}">${escapeXml(text)}</a>`);
      return root.text === text && root.attributes['b'] === text;
    }),
  );
});
