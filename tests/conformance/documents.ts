import { phoneDocument } from '../fixtures/wpi-documents.ts';

export const NONCE = '00112233445566778899AABBCCDDEEFF';
/** What a phone behind NAT announces. */
export const PRIVATE_URI = 'http://192.168.1.100:8085/contact_dls.html/ContactDLS';
const DECLARATION = '<?xml version="1.0" encoding="utf-8"?>\n';
const NAMESPACE = ' xmlns="http://www.siemens.com/DLS"';

export const item = (name: string, value: string, attributes = ''): string =>
  `<Item name="${name}"${attributes}>${value}</Item>`;

/** A phone's first message. */
export const solicited = (device: string, items: [string, string][] = [['e164', '4711']]): string =>
  initial('solicited', device, items);
export const initial = (reason: string, device: string, items: [string, string][] = []): string =>
  phoneDocument({ reason, items: [['contact-me-uri', PRIVATE_URI], ['mac-addr', device], ...items] });

/** A phone's reply, which does not name it. */
export const reply = (action: string, status = 'accepted', items: [string, string][] = []): string =>
  phoneDocument({ reason: 'reply-to', action, status, items });

/** A service's order. */
export const order = (
  action: string,
  items = '',
  { nonce = NONCE, root = 'DLSMessage', declaration = DECLARATION, namespace = NAMESPACE } = {},
): string =>
  `${declaration}<${root}${namespace}><Message nonce="${nonce}">` +
  `<Action>${action}</Action><ItemList>${items}</ItemList></Message></${root}>`;

export const WRITE = order('WriteItems', item('realm', 'x'));
export const CLEAN_UP = order('CleanUp');

/** A document made as long as that by one more item. */
export function padded(document: string, size: number): string {
  const [before = '', after = ''] = document.split('</ItemList>');
  const fill = size - Buffer.byteLength(document) - item('userdata-x', '').length;
  return `${before}${item('userdata-x', 'x'.repeat(fill))}</ItemList>${after}`;
}

/** A document in ISO-8859-1. */
export const latin1 = (document: string): Buffer =>
  Buffer.from(document.replace('utf-8', 'ISO-8859-1'), 'latin1');

/** The vendor's signature around an answer; its values are only shaped like ones. */
export const signed = (document: string, extra = ''): string =>
  `${DECLARATION}<Signature xmlns="http://www.w3.org/2000/09/xmldsig#"><SignedInfo>` +
  '<CanonicalizationMethod Algorithm="http://www.w3.org/TR/2001/REC-xml-c14n-20010315"/>' +
  '<SignatureMethod Algorithm="http://www.w3.org/2000/09/xmldsig#rsa-sha1"/>' +
  '<Reference URI="#DLSMessage"><DigestMethod Algorithm="http://www.w3.org/2000/09/xmldsig#sha1"/>' +
  '<DigestValue>2jmj7l5rSw0yVb/vlWAYkK/YBwk=</DigestValue></Reference></SignedInfo>' +
  '<SignatureValue>\nQ2Fu\nbm90\n</SignatureValue>' +
  `<Object Id="DLSMessage">${document.replace(DECLARATION, '')}</Object>${extra}</Signature>`;
