import {
  CLEAN_UP,
  initial,
  item,
  latin1,
  NONCE,
  order,
  PRIVATE_URI,
  reply,
  solicited,
  WRITE,
} from '../documents.ts';
import { spelt } from '../quirk.ts';
import type { Quirk, Spelt } from '../quirk.ts';

/** A job that ends well, with what the phone says in a spelling of its own. */
function says(
  id: string,
  what: string,
  source: string,
  first: (device: string) => Buffer | string,
  second: (device: string) => Buffer | string = () => reply('WriteItems'),
): Quirk {
  return {
    id,
    what,
    source,
    expects: 'cleared',
    script: (device) =>
      spelt(device, {
        exchanges: [
          { phone: first(device), service: WRITE },
          { phone: second(device), service: CLEAN_UP },
        ],
      }),
  };
}

const status = (id: string, word: string, outcome: 'completed' | 'busy', source: string): Quirk => ({
  id,
  what: `the reply's status is \`${word}\``,
  source,
  expects: outcome === 'busy' ? 'stays pending' : 'cleared',
  script: (device) =>
    spelt(device, {
      outcome,
      exchanges: [
        { phone: solicited(device), service: WRITE },
        { phone: reply('WriteItems', word), service: CLEAN_UP },
      ],
    }),
});

/** A contact-me address that a phone announces where its service asks for it. */
const announces = (id: string, what: string, action: string, value: string): Quirk => ({
  id,
  what,
  source: 'Developer’s Guide p. 27, 35',
  expects: 'cleared',
  script: (device) => {
    const exchanges: Spelt[] = [
      { phone: solicited(device), service: order(action) },
      {
        phone: reply(action).replace('</ItemList>', `${item('contact-me-uri', value)}</ItemList>`),
        service: CLEAN_UP,
      },
    ];
    return spelt(device, { exchanges });
  },
});

const bare = (document: string): string =>
  document.replace(/^<\?xml[^>]*\?>\s*/, '').replace(/ xmlns="[^"]*"/, '');

/** How phones write what they say. */
export const PHONE_QUIRKS: readonly Quirk[] = [
  says('status-first', '`status` before `action`', 'Developer’s Guide, DMOS', solicited, () =>
    reply('WriteItems').replace(/ action="(\w+)" status="(\w+)"/, ' status="$2" action="$1"'),
  ),
  says(
    'nonce-last',
    '`nonce` behind the other attributes',
    'WPI-PHP needs it first; XML does not',
    (device) =>
      solicited(device).replace(/nonce="(\w+)" maxItems="-1"/, 'fragment="final" maxItems="-1" nonce="$1"'),
  ),
  says('nonce-lower', 'a nonce of 23 lower-case digits', 'Developer’s Guide, one sample', (device) =>
    solicited(device).replace(NONCE, '0a1b2c3d4e5f60718293a4b'),
  ),
  says('fragment-on-reason', '`fragment` on ReasonForContact', 'Developer’s Guide p. 29', solicited, () =>
    reply('WriteItems').replace(' action=', ' fragment="final" action='),
  ),
  says(
    'whitespace-in-values',
    'line breaks and blanks around values',
    'Developer’s Guide, samples',
    (device) => solicited(device).replaceAll(/(<Item [^>]*>)([^<]*)</g, '$1\r\n      $2\n    <'),
  ),
  says(
    'entities-in-values',
    'entities in values, the contact-me address among them',
    'XML 1.0 §4.1',
    (device) =>
      solicited(device, [['e164', '&quot;4711&quot; &amp; &#52;&#x37;12']]).replace(
        PRIVATE_URI,
        'http://192.168.1.100:8085/contact_dls.html/ContactDLS?a=1&amp;b=&#50;',
      ),
  ),
  says('cdata-in-values', 'CDATA and a comment that holds another address', 'XML 1.0 §2.5, 2.7', (device) =>
    solicited(device).replace(
      '<ItemList>',
      `<ItemList><!-- ${item('contact-me-uri', 'http://192.0.2.9/')} -->${item('userdata', '<![CDATA[<x> &]]>')}`,
    ),
  ),
  says(
    'phone-no-namespace',
    'no namespace and no XML declaration from the phone',
    'samples of Pentagrid',
    (device) => bare(solicited(device)),
    () => bare(reply('WriteItems')),
  ),
  says('phone-items-outside', 'the ItemList outside the Message', 'samples of Pentagrid', (device) =>
    solicited(device).replace(/(<ItemList>[^]*<\/ItemList>)\n(<\/Message>)/, '$2\n$1'),
  ),
  says(
    'bom',
    'UTF-8 with a byte order mark',
    'UTF-8 (RFC 3629 §6)',
    (device) => `\ufeff${solicited(device)}`,
  ),
  says('utf8', 'UTF-8 beyond ASCII', 'Developer’s Guide p. 30', (device) =>
    solicited(device, [
      ['e164', '4711'],
      ['display-name', 'Büro Süd – 東京'],
    ]),
  ),
  says(
    'latin1',
    'Latin-1',
    'Developer’s Guide p. 30 asks for UTF-8; not all do',
    (device) => latin1(solicited(device, [['display-name', 'Büro Süd']])),
    () => latin1(reply('WriteItems', 'accepted', [['owner', 'Jürgen']])),
  ),
  says('no-e164', 'no e164, and replies that do not name the phone', 'DLSIR', (device) =>
    solicited(device, []),
  ),
  says('failed-e164', 'an empty e164 with `status="failed"`', 'Developer’s Guide p. 27', (device) =>
    solicited(device, []).replace('</ItemList>', '<Item name="e164" status="failed"></Item></ItemList>'),
  ),
  says(
    'reply-names-phone',
    'a reply that names the phone',
    'phones do in replies to ReadAllItems',
    solicited,
    (device) => reply('WriteItems', 'accepted', [['mac-addr', device]]),
  ),
  says('mac-with-dashes', 'the MAC with dashes, in lower case', 'Gemeinschaft takes both', (device) =>
    solicited(device.replaceAll(':', '-').toLowerCase()),
  ),
  says('mac-bare', 'the MAC without separators', 'GS5', (device) => solicited(device.replaceAll(':', ''))),
  status('status-busy', 'busy', 'busy', 'Developer’s Guide p. 29, 46'),
  status('status-busy-title', 'Busy', 'busy', 'DMOS spells others so'),
  status('status-busy-upper', 'BUSY', 'busy', 'DMOS spells others so'),
  status('status-accepted-title', 'Accepted', 'completed', 'DMOS'),
  status('status-accepted-upper', 'ACCEPTED', 'completed', 'DMOS spells others so'),
  status('status-failed', 'failed', 'completed', 'Developer’s Guide p. 29: the service has the last word'),
  announces('contact-me-read-items', 'contact-me-uri in a reply to ReadItems', 'ReadItems', PRIVATE_URI),
  announces('contact-me-read-all', 'contact-me-uri in a reply to ReadAllItems', 'ReadAllItems', PRIVATE_URI),
  announces(
    'contact-me-blanks',
    'contact-me-uri with white space around it',
    'ReadItems',
    `\r\n\t ${PRIVATE_URI} \n`,
  ),
  announces(
    'contact-me-entities',
    'contact-me-uri with entities in it',
    'ReadAllItems',
    PRIVATE_URI.replace('contact_dls', 'contact&#95;dls').replace('ContactDLS', 'ContactDLS?x=&quot;'),
  ),
  {
    id: 'start-up-leaves-pending',
    what: 'a start-up session while a job is pending',
    source: 'Developer’s Guide p. 28, 32',
    expects: 'stays pending',
    script: (device) =>
      spelt(device, {
        reason: 'start-up',
        exchanges: [
          { phone: initial('start-up', device, [['e164', '4711']]), service: order('ReadAllItems') },
          { phone: reply('ReadAllItems', 'accepted', [['contact-me-uri', PRIVATE_URI]]), service: CLEAN_UP },
        ],
      }),
  },
  {
    id: 'unreadable',
    what: 'a first message that nobody can read',
    source: 'not seen',
    expects: 'stays pending',
    unseen: true,
    warns: 'unreadable',
    script: (device) =>
      spelt(device, {
        exchanges: [{ phone: `Notice: undefined index\n${solicited(device)}`, service: CLEAN_UP }],
      }),
  },
];
