import { CLEAN_UP, initial, order, padded, reply, solicited, WRITE } from '../documents.ts';
import { length, spelt } from '../quirk.ts';
import type { Quirk, Sitting, Spelt } from '../quirk.ts';

const MEGABYTE = 1_000_000;
const MEBIBYTE = 1_048_576;

/** A job of two exchanges whose messages are ordinary; `each` says how they travel. */
const travels = (
  id: string,
  what: string,
  source: string,
  each: (service: string, at: number, session: string) => Omit<Spelt, 'phone'>,
  rest: Partial<Quirk> = {},
): Quirk => ({
  id,
  what,
  source,
  expects: 'cleared',
  script: (device) =>
    spelt(device, {
      exchanges: [
        { phone: solicited(device), ...each(WRITE, 0, sessionOf(device)) },
        { phone: reply('WriteItems'), ...each(CLEAN_UP, 1, sessionOf(device)) },
      ],
    }),
  ...rest,
});

const once = (
  id: string,
  what: string,
  source: string,
  expects: Quirk['expects'],
  sitting: (device: string) => Sitting,
): Quirk => ({ id, what, source, expects, script: (device) => spelt(device, sitting(device)) });

const chunks = (body: string, size: number, extension = ''): string => {
  const bytes = Buffer.from(body);
  const pieces: string[] = [];
  for (let at = 0; at < bytes.length; at += size) {
    const piece = bytes.subarray(at, at + size);
    pieces.push(`${piece.length.toString(16)}${extension}\r\n${piece.toString('latin1')}\r\n`);
  }
  return `${pieces.join('')}0\r\n\r\n`;
};
const CHUNKED = ['Transfer-Encoding: chunked'];
/** What a service might name the session of a device by. */
const sessionOf = (device: string): string => `30DE5D5C${device.replaceAll(':', '')}`;

/** Those that a phone's address alone decides come before anything that leaves an address in doubt. */
export const TRANSPORT_QUIRKS: readonly Quirk[] = [
  travels(
    'no-cookie-at-all',
    'no cookie from the service, ours dropped by the phone, a connection for each message',
    'DLSIR, WPI-PHP and GS5 set none; DMOS sends only some',
    (service, at) => ({ service, phoneHeaders: ['Connection: close'], connection: at }),
    { cookies: 'none' },
  ),
  travels(
    'no-cookie-kept-connection',
    'no cookie, one connection',
    'DLSIR, WPI-PHP, GS5',
    (service) => ({ service }),
    { cookies: 'none' },
  ),
  travels(
    'our-cookie-whole',
    'no cookie from the service; ours comes back, and goes no further',
    'DLSIR, WPI-PHP, GS5',
    (service, at) => ({ service, phoneHeaders: ['Connection: close'], connection: at }),
  ),
  travels(
    'cookie-with-attributes',
    'the service’s cookie comes back with its attributes',
    'Gemeinschaft, capture',
    (service, at, session) => ({
      service,
      connection: at,
      phoneHeaders:
        at === 0
          ? ['Connection: close']
          : [`Cookie: JSESSIONID=${session}; path=/DeploymentService/; secure`],
      serviceHeaders: [
        length(service),
        ...(at === 0 ? [`Set-Cookie: JSESSIONID=${session}; Path=/DeploymentService; Secure`] : []),
      ],
    }),
  ),
  travels(
    'cookie-as-pair',
    'the service’s cookie comes back without its attributes',
    'DMOS',
    (service, at, session) => ({
      service,
      connection: at,
      phoneHeaders: at === 0 ? ['Connection: close'] : [`Cookie: PHPSESSID=${session}`],
      serviceHeaders: [length(service), ...(at === 0 ? [`Set-Cookie: PHPSESSID=${session}; path=/`] : [])],
    }),
  ),
  travels(
    'cookies-many',
    'two cookies, with an expiry that has a comma in it',
    'balancers',
    (service, at, session) => ({
      service,
      phoneHeaders: at === 0 ? [] : [`Cookie: balancer=7; JSESSIONID=${session}`],
      serviceHeaders: [
        length(service),
        `Set-Cookie: JSESSIONID=${session}; Path=/DeploymentService; Secure`,
        'set-cookie: balancer=7; path=/; HttpOnly; Expires=Thu, 01 Jan 1970 00:00:00 GMT',
      ],
    }),
  ),
  travels(
    'close-by-phone',
    '`Connection: close` on every request',
    'CP210, capture',
    (service, at) => ({ service, phoneHeaders: ['Connection: close'], connection: at }),
    { cookies: 'pair' },
  ),
  travels('close-by-service', '`Connection: close` on every answer', 'WPI-PHP', (service, at) => ({
    service,
    connection: at,
    serviceHeaders: [length(service), 'Connection: close'],
  })),
  travels('keep-alive-header', '`Keep-Alive: timeout=45, max=100`', 'Gemeinschaft', (service) => ({
    service,
    serviceHeaders: [length(service), 'Keep-Alive: timeout=45, max=100', 'Connection: Keep-Alive'],
  })),
  travels('application-xml', '`application/xml; charset=utf-8`', 'DLSIR', (service) => ({
    service,
    contentType: 'application/xml; charset=utf-8',
  })),
  travels('other-path', 'another path than that of captures', 'Developer’s Guide, samples', (service) => ({
    service,
    target: '/provisioningService?x=%20&y',
  })),
  travels('no-content-type', 'no Content-Type', 'not seen; allowed', (service) => ({
    service,
    contentType: null,
  })),
  travels('http-1-0', 'answers of HTTP/1.0', 'samples of Pentagrid', (service, at) => ({
    service,
    connection: at,
    status: 'HTTP/1.0 200 OK',
  })),
  travels(
    'http-1-0-no-length',
    'answers of HTTP/1.0 that end with their connection',
    'samples of Pentagrid',
    (service, at) => ({ service, connection: at, status: 'HTTP/1.0 200 OK', serviceHeaders: [] }),
  ),
  travels('no-reason-phrase', 'a status line without a phrase', 'RFC 9112 §4', (service) => ({
    service,
    status: 'HTTP/1.1 200 ',
  })),
  travels('alpn-h2', 'HTTP/2 offered by ALPN', 'DLSIR', (service) => ({ service }), {
    offers: ['h2', 'http/1.1'],
  }),
  travels(
    'chunked',
    'chunked answers, which old phones cannot read',
    'Developer’s Guide p. 12',
    (service) => ({
      service: chunks(service, 4096),
      serviceHeaders: CHUNKED,
    }),
  ),
  travels('chunked-small', 'chunks of a few bytes, with extensions', 'RFC 9112 §7.1', (service) => ({
    service: chunks(service, 7, ';x=1'),
    serviceHeaders: CHUNKED,
  })),
  travels(
    'send-headers',
    'headers that are rarely seen, in any letter case, on both sides',
    'WIKI, captures',
    (service) => ({
      service,
      phoneHeaders: [
        'content-TYPE: text/xml ; charset="UTF-8"',
        'SOAPAction: ""',
        'X-Empty:',
        'X-Latin: B\xfcro',
        'User-Agent: OpenStage/1.0 (x; y)',
        'Cookie: JSESSIONID=30de; path=/DeploymentService/; secure',
        'Accept: text/xml, */*;q=0.1',
      ],
      serviceHeaders: [
        `content-length: ${Buffer.byteLength(service)}`,
        'Server: Apache-Coyote/1.1',
        'X-Latin: B\xfcro',
        'X-Twice: 1',
        'X-Twice: 2',
      ],
    }),
  ),
  {
    id: 'end-empty-200',
    what: 'the service ends with 200 and nothing in it',
    source: 'DLSIR',
    expects: 'cleared',
    script: (device) =>
      spelt(device, {
        exchanges: [
          { phone: solicited(device), service: WRITE },
          { phone: reply('WriteItems'), service: '', contentType: null },
        ],
      }),
  },
  {
    id: 'end-204',
    what: 'the service ends with 204',
    source: 'DLSIR',
    expects: 'cleared',
    script: (device) =>
      spelt(device, {
        exchanges: [
          { phone: solicited(device), service: WRITE },
          {
            phone: reply('WriteItems'),
            service: '',
            status: 'HTTP/1.1 204 No Content',
            contentType: null,
            serviceHeaders: [],
          },
        ],
      }),
  },
  {
    id: 'end-at-once',
    what: 'nothing to do: 200 and nothing in it, to a phone that was called',
    source: 'DLSIR',
    expects: 'cleared',
    script: (device) =>
      spelt(device, { exchanges: [{ phone: solicited(device), service: '', contentType: null }] }),
  },
  once(
    'ignores-local-changes',
    'local changes are answered with an empty 200',
    'DLSIR',
    'stays pending',
    (device) => ({
      reason: 'local-changes',
      exchanges: [{ phone: initial('local-changes', device), service: '', contentType: null }],
    }),
  ),
  once(
    'unknown-reason-204',
    'reasons that it does not know are answered with 204',
    'DLSIR',
    'stays pending',
    (device) => ({
      reason: 'inventory-changes',
      exchanges: [
        {
          phone: initial('inventory-changes', device),
          service: '',
          status: 'HTTP/1.1 204 No Content',
          contentType: null,
          serviceHeaders: [],
        },
      ],
    }),
  ),
  {
    id: 'messages-of-a-megabyte',
    what: 'messages of a megabyte in both directions',
    source: 'Gemeinschaft takes 1 000 000 bytes',
    expects: 'cleared',
    script: (device) =>
      spelt(device, {
        exchanges: [
          { phone: padded(solicited(device), MEGABYTE), service: padded(order('WriteItems'), MEGABYTE) },
          { phone: padded(reply('WriteItems'), MEBIBYTE), service: padded(CLEAN_UP, MEBIBYTE) },
        ],
      }),
  },
  once('error-500', 'the service fails', 'any', 'stays pending', (device) => ({
    outcome: 'failed',
    exchanges: [{ phone: solicited(device), service: 'sorry', status: 'HTTP/1.1 500 Internal Server Error' }],
  })),
  once('error-503', 'the service has no room', 'any', 'stays pending', (device) => ({
    outcome: 'overload',
    exchanges: [
      {
        phone: solicited(device),
        service: '',
        status: 'HTTP/1.1 503 Service Unavailable',
        serviceHeaders: ['Retry-After: 3', 'Content-Length: 0'],
      },
    ],
  })),
  once('cut-in-chunks', 'an answer that is cut off in its chunks', 'any', 'stays pending', (device) => ({
    outcome: 'cut',
    exchanges: [
      {
        phone: solicited(device),
        serviceHeaders: CHUNKED,
        service: `${Buffer.byteLength(CLEAN_UP).toString(16)}\r\n${CLEAN_UP}\r\n`,
        cut: true,
      },
    ],
  })),
  once('cut-small', 'a small answer that is cut off', 'any', 'stays pending', (device) => ({
    outcome: 'cut',
    exchanges: [
      {
        phone: solicited(device),
        serviceHeaders: [`Content-Length: ${Buffer.byteLength(CLEAN_UP) + 1}`],
        service: CLEAN_UP,
        cut: true,
      },
    ],
  })),
  once('cut-big', 'a big answer that is cut off', 'any', 'stays pending', (device) => ({
    outcome: 'cut',
    exchanges: [
      {
        phone: solicited(device),
        serviceHeaders: [`Content-Length: ${2 * MEGABYTE}`],
        service: padded(CLEAN_UP, MEGABYTE / 2),
        cut: true,
      },
    ],
  })),
  {
    id: 'over-the-limit',
    what: 'a reply and an answer over 1 MiB pass unread, and are counted; our cookie still goes no further',
    source: 'not seen; phones split at 50 kB (Developer’s Guide p. 69)',
    expects: 'stays pending',
    unseen: true,
    warns: 'unread',
    script: (device) =>
      spelt(device, {
        exchanges: [
          { phone: solicited(device), service: order('ReadAllItems') },
          {
            phone: padded(reply('ReadAllItems'), MEBIBYTE + 1),
            service: padded(CLEAN_UP, 2 * MEGABYTE),
          },
        ],
      }),
  },
];
