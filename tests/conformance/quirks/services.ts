import {
  CLEAN_UP,
  initial,
  item,
  latin1,
  NONCE,
  order,
  reply,
  signed,
  solicited,
  WRITE,
} from '../documents.ts';
import { spelt } from '../quirk.ts';
import type { Quirk } from '../quirk.ts';

type Short = Pick<Quirk, 'what' | 'source'> & Partial<Quirk>;

/** A job that ends well, with orders in a spelling of their own. */
const orders = (id: string, quirk: Short, write: Buffer | string, end: Buffer | string): Quirk => ({
  id,
  expects: 'cleared',
  script: (device) =>
    spelt(device, {
      exchanges: [
        { phone: solicited(device), service: write },
        { phone: reply('WriteItems'), service: end },
      ],
    }),
  ...quirk,
});

/** A job that the service ends by this answer to the phone's first message. */
const ends = (
  id: string,
  quirk: Short & Pick<Quirk, 'expects'>,
  outcome: 'completed' | 'busy' | 'more' | 'overload' | 'not-completed',
  service: string,
): Quirk => ({
  id,
  script: (device) => spelt(device, { outcome, exchanges: [{ phone: solicited(device), service }] }),
  ...quirk,
});

const BARE = { declaration: '', namespace: '' };

/** How services write their orders, and how they end. */
export const SERVICE_QUIRKS: readonly Quirk[] = [
  orders(
    'root-dls-message',
    { what: 'the root is spelled `DlsMessage`', source: 'GS5' },
    order('WriteItems', item('realm', 'x'), { root: 'DlsMessage' }),
    order('CleanUp', '', { root: 'DlsMessage' }),
  ),
  orders(
    'no-namespace',
    { what: 'no namespace', source: 'DLSIR; samples of Pentagrid' },
    order('WriteItems', item('realm', 'x'), { namespace: '' }),
    order('CleanUp', '', { namespace: '' }),
  ),
  orders(
    'no-declaration',
    { what: 'no XML declaration', source: 'DLSIR' },
    order('WriteItems', item('realm', 'x'), BARE),
    order('CleanUp', '', BARE),
  ),
  orders(
    'schema-location',
    { what: '`xsi:schemaLocation` with half a pair', source: 'Developer’s Guide, samples' },
    order('WriteItems', item('realm', 'x'), {
      namespace:
        ' xmlns="http://www.siemens.com/DLS" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:schemaLocation="http://www.siemens.com/DLS"',
    }),
    CLEAN_UP,
  ),
  orders(
    'empty-reason',
    { what: 'an empty ReasonForContact beside the Action', source: 'DLSIR' },
    order('WriteItems', item('realm', 'x'), BARE).replace('<Action>', '<ReasonForContact/>$&'),
    order('CleanUp', '', BARE).replace('<Action>', '<ReasonForContact></ReasonForContact>$&'),
  ),
  orders(
    'items-outside',
    { what: 'the ItemList outside the Message', source: 'samples of Pentagrid' },
    `<DLSMessage><Message nonce="${NONCE}"><Action>WriteItems</Action></Message><ItemList>${item('realm', 'x')}</ItemList></DLSMessage>`,
    `<DLSMessage><Message nonce="${NONCE}"><Action>CleanUp</Action></Message><ItemList></ItemList></DLSMessage>`,
  ),
  ends(
    'items-outside-again',
    {
      what: '`send-solicited` in an ItemList outside the Message',
      source: 'samples of Pentagrid; Developer’s Guide p. 72',
      expects: 'stays pending',
    },
    'more',
    `<DLSMessage><Message nonce="${NONCE}"><Action>CleanUp</Action></Message><ItemList>${item('send-solicited', 'true')}</ItemList></DLSMessage>`,
  ),
  orders(
    'signature',
    { what: 'answers wrapped in a Signature, line breaks inside it', source: 'the vendor’s DLS (DMOS)' },
    signed(WRITE),
    signed(CLEAN_UP),
  ),
  orders(
    'signature-stray-tag',
    {
      what: 'a Signature with one closing tag of its Object too many',
      source: 'Developer’s Guide p. 60',
    },
    signed(WRITE, '</Object>'),
    signed(CLEAN_UP, '</Object>'),
  ),
  orders(
    'status-secure',
    { what: 'items towards the phone with `status="secure"`', source: 'DMOS' },
    order('WriteItems', item('sip-pwd', 's3cret', ' index="1" status="secure"')),
    CLEAN_UP,
  ),
  orders(
    'whitespace-in-orders',
    { what: 'line breaks and blanks around the Action and values', source: 'Developer’s Guide, samples' },
    order('\r\n  WriteItems\t', item('realm', '\n    x\n  ')),
    order('\n  CleanUp  \n'),
  ),
  orders(
    'attributes-single-quotes',
    { what: 'attributes in single quotes, with blanks around `=`', source: 'XML 1.0 §2.3' },
    WRITE.replace(`nonce="${NONCE}"`, `nonce = '${NONCE}'`),
    CLEAN_UP.replace(`nonce="${NONCE}"`, `\n nonce='${NONCE}'`),
  ),
  orders(
    'entities-in-orders',
    { what: 'entities in values towards the phone', source: 'Gemeinschaft (old phones take quotes only)' },
    order('WriteItems', item('display-text', '&quot;Empf&#228;nger&quot; &amp; &lt;Co&gt; &#x41;&apos;')),
    CLEAN_UP,
  ),
  orders(
    'cdata-in-orders',
    { what: 'CDATA and comments in an order', source: 'XML 1.0 §2.5, 2.7' },
    order('WriteItems', `<!-- <Action>CleanUp</Action> -->${item('realm', '<![CDATA[<x> & ]] ]]>')}`),
    CLEAN_UP,
  ),
  orders(
    'bom-in-orders',
    { what: 'UTF-8 with a byte order mark from the service', source: 'UTF-8 (RFC 3629 §6)' },
    `\ufeff${WRITE}`,
    `\ufeff${CLEAN_UP}`,
  ),
  orders(
    'latin1-in-orders',
    { what: 'Latin-1 from the service', source: 'Developer’s Guide p. 30 asks for UTF-8; not all do' },
    latin1(order('WriteItems', item('realm', 'Büro Süd'))),
    latin1(CLEAN_UP),
  ),
  orders(
    'several-actions',
    { what: 'several Actions before CleanUp', source: 'Developer’s Guide p. 32; Gemeinschaft, GS5' },
    WRITE,
    CLEAN_UP,
  ),
  {
    id: 'read-all-first',
    what: 'ReadAllItems, WriteItems, ReadItems, CleanUp in one session',
    source: 'Gemeinschaft, GS5',
    expects: 'cleared',
    script: (device) =>
      spelt(device, {
        exchanges: [
          { phone: solicited(device), service: order('ReadAllItems') },
          { phone: reply('ReadAllItems', 'accepted', [['e164', '4711']]), service: WRITE },
          { phone: reply('WriteItems'), service: order('ReadItems', item('realm', '')) },
          { phone: reply('ReadItems', 'accepted', [['realm', 'x']]), service: CLEAN_UP },
        ],
      }),
  },
  {
    id: 'file-deployment',
    what: 'FileDeployment over HTTPS, then a session of its own for its status',
    source: 'Developer’s Guide p. 54–55',
    expects: 'cleared',
    script: (device) =>
      spelt(
        device,
        {
          exchanges: [
            {
              phone: solicited(device),
              service: order(
                'FileDeployment',
                item('file-https-base-url', 'https://dls.example:18443/file/logo.png') +
                  item('file-type', 'LOGO'),
              ),
            },
            { phone: reply('FileDeployment'), service: CLEAN_UP },
          ],
        },
        {
          reason: 'status',
          exchanges: [
            { phone: initial('status', device, [['file-deployment-status', 'ok']]), service: CLEAN_UP },
          ],
        },
      ),
  },
  {
    id: 'file-deployment-ftp',
    what: 'FileDeployment by FTP, which is warned of',
    source: 'Developer’s Guide p. 55; Gemeinschaft',
    expects: 'cleared',
    warns: 'ftp',
    script: (device) =>
      spelt(device, {
        exchanges: [
          {
            phone: solicited(device),
            service: order(
              'FileDeployment',
              item('file-server', '192.0.2.9') + item('file-port', '21') + item('file-pwd', 's3cret'),
            ),
          },
          { phone: reply('FileDeployment'), service: CLEAN_UP },
        ],
      }),
  },
  {
    id: 'refused-items',
    what: 'a reply that is accepted and lists items that are not',
    source: 'Developer’s Guide p. 78–83',
    expects: 'cleared',
    script: (device) =>
      spelt(device, {
        exchanges: [
          { phone: solicited(device), service: WRITE },
          {
            phone: reply('WriteItems').replace(
              '</ItemList>',
              `${item('realm', '', ' status="unknown item"')}${item('x', '', ' index="1" status="read only"')}</ItemList>`,
            ),
            service: CLEAN_UP,
          },
        ],
      }),
  },
  ends(
    'send-solicited-any-case',
    {
      what: '`send-solicited` in any letter case',
      source: 'Developer’s Guide p. 72',
      expects: 'stays pending',
    },
    'more',
    order('CleanUp', item('send-solicited', ' TRUE ')),
  ),
  ends(
    'send-solicited-false',
    { what: '`send-solicited` that says no', source: 'Developer’s Guide p. 72', expects: 'cleared' },
    'completed',
    order('CleanUp', item('send-solicited', 'false')),
  ),
  ends(
    'overload-any-case',
    { what: '`overload` in any letter case', source: 'the vendor’s DLS (DMOS)', expects: 'stays pending' },
    'overload',
    order('CleanUp', item('cleanup-reason', 'Overload')),
  ),
  ends(
    'other-cleanup-reason',
    { what: 'CleanUp with another reason', source: 'Developer’s Guide p. 66', expects: 'stays pending' },
    'not-completed',
    order('CleanUp', item('cleanup-reason', 'wrong TAN from device')),
  ),
  ends(
    'nonce-empty',
    { what: 'CleanUp with `nonce=""`', source: 'Gemeinschaft', expects: 'stays pending' },
    'not-completed',
    order('CleanUp', '', { nonce: '' }),
  ),
];
