/**
 * A small XML reader and writer for the simulated phones and the sample services.
 *
 * Deliberately separate from the product's reader: the simulator is the other side against which the product
 * is tested, and a shared mistake would hide itself.
 */

/** One element; `name` keeps its prefix, `text` joins the element's own character data untrimmed. */
export type XmlElement = {
  name: string;
  attributes: Record<string, string>;
  children: XmlElement[];
  text: string;
};

/** The document is not well-formed, or uses what this reader refuses (DOCTYPE, depth above 32). */
class XmlFault extends Error {
  override name = 'XmlFault';
}

const MAX_DEPTH = 32;
const NAME = /[A-Za-z_:][\w:.-]*/y;
const ATTRIBUTE = /\s+([A-Za-z_:][\w:.-]*)\s*=\s*(?:"([^"<]*)"|'([^'<]*)')/y;
const ENTITY = /&([^;&]{1,10});|&/g;
const NAMED: Record<string, string> = { lt: '<', gt: '>', amp: '&', quot: '"', apos: "'" };

function unescape(text: string): string {
  if (!text.includes('&')) return text;
  return text.replace(ENTITY, (whole, entity?: string) => {
    const named = entity === undefined ? undefined : NAMED[entity];
    if (named !== undefined) return named;
    const digits = /^#(?:x([0-9a-fA-F]{1,6})|([0-9]{1,7}))$/.exec(entity ?? '');
    const code = digits ? Number.parseInt(digits[1] ?? digits[2] ?? '', digits[1] ? 16 : 10) : NaN;
    if (!(code > 0 && code <= 0x10ffff)) throw new XmlFault(`bad entity ${JSON.stringify(whole)}`);
    return String.fromCodePoint(code);
  });
}

/** Escapes a value for use as element text or as a double-quoted attribute. */
export function escapeXml(text: string): string {
  return text.replace(/[&<>"]/g, (c) =>
    c === '&' ? '&amp;' : c === '<' ? '&lt;' : c === '>' ? '&gt;' : '&quot;',
  );
}

/**
 * Reads one document and returns its root.
 * @throws XmlFault when it is not well-formed or when anything but white space surrounds the root.
 */
export function parseXml(source: string): XmlElement {
  let at = source.charCodeAt(0) === 0xfeff ? 1 : 0;
  if (source.startsWith('<?xml', at)) at = after('?>');
  const open: XmlElement[] = [];
  let root: XmlElement | undefined;

  function after(mark: string): number {
    const found = source.indexOf(mark, at);
    if (found < 0) throw new XmlFault(`missing ${mark} after offset ${at}`);
    return found + mark.length;
  }

  function text(upTo: number): void {
    const raw = source.slice(at, upTo);
    const inside = open.at(-1);
    if (inside) inside.text += unescape(raw);
    else if (raw.trim() !== '') throw new XmlFault(`text outside the root at offset ${at}`);
    at = upTo;
  }

  while (at < source.length) {
    const next = source.indexOf('<', at);
    if (next !== at) text(next < 0 ? source.length : next);
    if (next < 0) break;
    if (source.startsWith('<!--', at)) at = after('-->');
    else if (source.startsWith('<![CDATA[', at)) {
      const end = after(']]>');
      const inside = open.at(-1);
      if (!inside) throw new XmlFault('CDATA outside the root');
      inside.text += source.slice(at + 9, end - 3);
      at = end;
    } else if (source.startsWith('<?', at)) at = after('?>');
    else if (source.startsWith('</', at)) {
      const element = open.pop();
      if (!element || !source.startsWith(element.name, at + 2)) throw new XmlFault(`wrong end tag at ${at}`);
      const close = /\s*>/y;
      close.lastIndex = at + 2 + element.name.length;
      if (!close.test(source)) throw new XmlFault(`wrong end tag at ${at}`);
      at = close.lastIndex;
    } else {
      const element = startTag();
      const parent = open.at(-1);
      if (parent) parent.children.push(element);
      else if (root) throw new XmlFault(`a second root at offset ${at}`);
      else root = element;
      const empty = source[at] === '/';
      if (!source.startsWith(empty ? '/>' : '>', at)) throw new XmlFault(`unfinished tag at offset ${at}`);
      at += empty ? 2 : 1;
      if (!empty) open.push(element);
      if (open.length > MAX_DEPTH) throw new XmlFault(`nested deeper than ${MAX_DEPTH}`);
    }
  }
  if (!root || open.length > 0) throw new XmlFault('the document ends early');
  return root;

  function startTag(): XmlElement {
    NAME.lastIndex = at + 1;
    const name = NAME.exec(source)?.[0];
    if (name === undefined) throw new XmlFault(`bad tag at offset ${at}`);
    at += 1 + name.length;
    const attributes: Record<string, string> = {};
    for (;;) {
      ATTRIBUTE.lastIndex = at;
      const found = ATTRIBUTE.exec(source);
      if (!found) break;
      const key = found[1] ?? '';
      if (Object.hasOwn(attributes, key)) throw new XmlFault(`attribute ${key} twice`);
      attributes[key] = unescape(found[2] ?? found[3] ?? '');
      at = ATTRIBUTE.lastIndex;
    }
    while (/\s/.test(source[at] ?? '')) at += 1;
    return { name, attributes, children: [], text: '' };
  }
}

/** The name without its prefix. */
function localName(element: XmlElement): string {
  return element.name.slice(element.name.indexOf(':') + 1);
}

/** All elements below (and including) `root` with that local name, letter case ignored, in document order. */
export function findAll(root: XmlElement, name: string): XmlElement[] {
  const wanted = name.toLowerCase();
  const found: XmlElement[] = [];
  const visit = (element: XmlElement): void => {
    if (localName(element).toLowerCase() === wanted) found.push(element);
    element.children.forEach(visit);
  };
  visit(root);
  return found;
}
