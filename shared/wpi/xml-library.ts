import { XMLParser, XMLValidator } from 'fast-xml-parser';
import { localName, XML_DEPTH_LIMIT } from './element.ts';
import type { XmlElement, XmlText } from './element.ts';

const TEXT = '#text';
const CDATA = '#cdata';
const ATTRIBUTES = ':@';
const POSITION = XMLParser.getMetaDataSymbol() as unknown as symbol;

const parser = new XMLParser({
  preserveOrder: true,
  ignoreAttributes: false,
  attributeNamePrefix: '',
  textNodeName: TEXT,
  cdataPropName: CDATA,
  // Values stay the text they are: no numbers, no trimming, no entities; what they mean is decided by us.
  parseTagValue: false,
  parseAttributeValue: false,
  trimValues: false,
  processEntities: false,
  ignoreDeclaration: true,
  ignorePiTags: true,
  captureMetaData: true,
  maxNestedTags: XML_DEPTH_LIMIT + 1,
  jPath: false,
});

/**
 * Reads a document with fast-xml-parser: the only door to it. The library accepts malformed documents unless they
 * are validated first, and quotes them in its errors, so neither its leniency nor its errors get past here.
 *
 * @param text - the document's bytes as Latin-1, without a byte order mark and without any DOCTYPE
 * @returns the root, or null where the document is not well-formed or too deep
 */
export function readXmlWithLibrary(text: string): XmlElement | null {
  try {
    // The validator lets text pass behind an empty root.
    if (XMLValidator.validate(text) !== true || !/>[ \t\r\n]*$/.test(text)) return null;
    const nodes: unknown = parser.parse(text);
    if (!Array.isArray(nodes)) return null;
    const roots = nodes.map((node) => toElement(node, 1)).filter((element) => element !== null);
    return roots.length === 1 ? (roots[0] ?? null) : null;
  } catch {
    // Everything that the library throws means one thing here, and its message may hold the phone's secrets.
    return null;
  }
}

/** Turns the library's node into ours; null for one that is no element. */
function toElement(node: unknown, depth: number): XmlElement | null {
  if (typeof node !== 'object' || node === null) return null;
  const name = Object.keys(node).find((key) => key !== ATTRIBUTES);
  if (name === undefined || name === TEXT || name === CDATA) return null;
  if (depth > XML_DEPTH_LIMIT) throw new RangeError('nested too deep');
  const fields = node as Record<string | symbol, unknown>;
  const content = fields[name];
  const children: XmlElement[] = [];
  const text: XmlText[] = [];
  for (const part of Array.isArray(content) ? (content as unknown[]) : []) {
    const element = toElement(part, depth + 1);
    if (element === null) text.push(...toText(part));
    else children.push(element);
  }
  const attributes = Object.entries(fields[ATTRIBUTES] ?? {}).map(
    ([key, value]) => [key, String(value)] as const,
  );
  return { name: localName(name), attributes, children, text, start: positionOf(fields) };
}

function toText(part: unknown): XmlText[] {
  if (typeof part !== 'object' || part === null) return [];
  const fields = part as Record<string, unknown>;
  if (typeof fields[TEXT] === 'string') return [{ raw: fields[TEXT], cdata: false }];
  const inner = fields[CDATA];
  if (!Array.isArray(inner)) return [];
  return (inner as Record<string, unknown>[]).map(({ [TEXT]: raw }) => ({
    raw: typeof raw === 'string' ? raw : '',
    cdata: true,
  }));
}

function positionOf(fields: Record<string | symbol, unknown>): number {
  const position = fields[POSITION] as { startIndex?: number } | undefined;
  return position?.startIndex ?? -1;
}
