import { isSigned, readPhoneMessage, readServiceMessage } from '../../shared/wpi/index.ts';
import { replaceContactMe } from '../../shared/wpi/contact-me-value.ts';
import { mutate } from './mutate.ts';
import type { Random } from './mutate.ts';

const MESSAGE =
  '<?xml version="1.0" encoding="utf-8"?>\n<WorkpointMessage xmlns="http://www.siemens.com/DLS"><Message nonce="0011AA" maxItems="-1">' +
  '<ReasonForContact action="ReadItems" status="accepted">reply-to</ReasonForContact><ItemList>' +
  '<Item name="mac-addr">00:1A:E8:00:00:01</Item><Item name="contact-me-uri">http://10.0.0.9:8085/contact_dls.html/ContactDLS</Item>' +
  '<Item name="x" index="1">a &amp; b</Item></ItemList></Message></WorkpointMessage>';
const PIECES = [
  '<!DOCTYPE a [<!ENTITY b "c">]>',
  '<![CDATA[',
  ']]>',
  '<!--',
  '-->',
  '&b;',
  '&#0;',
  '&#x110000;',
  '&amp;',
  '<a>',
  '</a>',
  '<a/>',
  '\0',
  '__proto__',
  'constructor',
  '<Item name="__proto__">x</Item>',
  ' xmlns:a="b"',
  '<?x ?>',
  '\xff\xfe',
  '\xef\xbb\xbf',
  '"',
  "'",
  '=',
  'encoding="utf-16"',
  '<a>'.repeat(40),
  ' a="b"'.repeat(200),
  '<Signature>',
  '\u0085',
];
/** Processor time: no document of some kilobytes may hold the relay up for as long. */
const SLOW_MS = 1_000;

/** Nothing is thrown, takes long, reaches a prototype, or is understood of what holds a DOCTYPE. */
export function xmlReader(random: Random): string | null {
  const text = mutate(random, MESSAGE, PIECES, 6);
  const body = Buffer.from(text, 'latin1');
  const began = process.cpuUsage();
  try {
    const phone = readPhoneMessage(body);
    readServiceMessage(body);
    isSigned(body);
    replaceContactMe(body, 'http://10.0.0.5:8085/00-11/contact_dls.html/ContactDLS');
    if (
      !('unreadable' in phone) &&
      /<!DOCTYPE/.test(text.replaceAll(/<!--[^]*?-->|<!\[CDATA\[[^]*?\]\]>/g, ''))
    ) {
      return `a DOCTYPE was read: ${JSON.stringify(text)}`;
    }
  } catch (error) {
    return `thrown ${String(error)}: ${JSON.stringify(text)}`;
  }
  if (Object.keys(Object.prototype).length > 0) return `a prototype has fields now: ${JSON.stringify(text)}`;
  const took = process.cpuUsage(began).user / 1_000;
  return took > SLOW_MS ? `${took} ms: ${JSON.stringify(text)}` : null;
}
