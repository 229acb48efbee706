/** WPI documents as a phone writes and reads them (Provisioning Interface Developer's Guide, §3). */
import { escapeXml, findAll, parseXml } from './xml.ts';

/** `index` is kept as written: some items count from 0, others from 1. */
export type Item = { name: string; index?: string; value: string; status?: string };

/** ReasonForContact of a session a phone opens. */
export type ContactReason =
  'start-up' | 'solicited' | 'local-changes' | 'inventory-changes' | 'status' | 'clean-up';

export type ReplyStatus = 'accepted' | 'failed' | 'busy';

export type PhoneMessage = {
  reason: ContactReason | 'reply-to';
  /** The action being answered; only with `reply-to`. */
  action?: string;
  status?: ReplyStatus;
  /** `next`: more follows on GetNextFragment; `final`: that was all. Absent on initiating messages. */
  fragment?: 'next' | 'final';
  items: Item[];
};

export type MessageStyle = {
  /** Order of the attributes of ReasonForContact; captures show `action` first. Default `action-first`. */
  attributeOrder?: 'action-first' | 'status-first';
  /** Line breaks and indents between the elements. Default true. */
  pretty?: boolean;
  /** The attribute of that name: the most items that the phone takes in one message. Default -1, any number. */
  maxItems?: number;
};

export function writePhoneMessage(message: PhoneMessage, nonce: string, style: MessageStyle = {}): string {
  const line = style.pretty === false ? '' : '\n';
  const indent = (depth: number): string => (style.pretty === false ? '' : '  '.repeat(depth));
  const reply = [
    message.action === undefined ? '' : ` action="${escapeXml(message.action)}"`,
    message.status === undefined ? '' : ` status="${message.status}"`,
  ];
  if (style.attributeOrder === 'status-first') reply.reverse();
  const fragment = message.fragment === undefined ? '' : ` fragment="${message.fragment}"`;
  const out = [
    '<?xml version="1.0" encoding="utf-8"?>',
    '<WorkpointMessage xmlns="http://www.siemens.com/DLS">',
    `${indent(1)}<Message nonce="${nonce}" maxItems="${style.maxItems ?? -1}"${fragment}>`,
    `${indent(2)}<ReasonForContact${reply.join('')}>${message.reason}</ReasonForContact>`,
    `${indent(2)}<ItemList>`,
  ];
  for (const item of message.items) {
    const index = item.index === undefined ? '' : ` index="${escapeXml(item.index)}"`;
    const status = item.status === undefined ? '' : ` status="${escapeXml(item.status)}"`;
    out.push(
      `${indent(3)}<Item name="${escapeXml(item.name)}"${index}${status}>${escapeXml(item.value)}</Item>`,
    );
  }
  out.push(`${indent(2)}</ItemList>`, `${indent(1)}</Message>`, '</WorkpointMessage>', '');
  return out.join(line);
}

export type ServiceMessage = {
  nonce: string;
  /** Empty when the answer names none. */
  action: string;
  items: Item[];
  /** The DLSMessage was wrapped in an XML signature, as the vendor's own service sends it. */
  signed: boolean;
};

/**
 * Reads a service's answer: DLSMessage in any letter case, with or without namespace, at the root or inside a
 * Signature's Object; values trimmed.
 * @throws XmlFault when it is not well-formed; TypeError when it holds no DLSMessage with a Message
 */
export function readServiceMessage(body: Buffer): ServiceMessage {
  const root = parseXml(body.toString('utf8'));
  const document = findAll(root, 'DLSMessage')[0];
  const message = document && findAll(document, 'Message')[0];
  if (!document || !message) throw new TypeError(`root ${root.name} holds no DLSMessage with a Message`);
  const items = findAll(document, 'Item').map((element): Item => {
    const { name = '', index, status } = element.attributes;
    const item: Item = { name: name.trim(), value: element.text.trim() };
    if (index !== undefined) item.index = index.trim();
    if (status !== undefined) item.status = status.trim();
    return item;
  });
  const action = findAll(document, 'Action')[0]?.text.trim() ?? '';
  return { nonce: message.attributes['nonce'] ?? '', action, items, signed: root !== document };
}

/** The value of the first item of that name, letter case ignored. */
export function itemValue(items: readonly Item[], name: string): string | undefined {
  return items.find((item) => item.name.toLowerCase() === name)?.value;
}
