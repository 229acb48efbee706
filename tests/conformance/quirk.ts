import type { Transcript, TranscriptOutcome } from '../fixtures/transcripts/index.ts';
import type { Warning } from '../../relay-client/warnings/kinds.ts';

/** What becomes of a pushed message once a quirk has been played. */
export type Fate = 'cleared' | 'stays pending';

/** A habit of phones or services in the field, as an exchange between stubs that behave exactly so. */
export interface Quirk {
  /** Its own among all, in lower case with dashes. */
  readonly id: string;
  /** One line for a person. */
  readonly what: string;
  /** Who was seen doing it, or which document says so. */
  readonly source: string;
  readonly expects: Fate;
  readonly script: (device: string) => Transcript;
  /** How the phone sends back a cookie that the script does not spell out. Default `whole`. */
  readonly cookies?: 'whole' | 'pair' | 'none';
  /** What the service offers by ALPN. Default nothing. */
  readonly offers?: readonly string[];
  /** Whether polls are 200 while the phone is at work. Default: if it is solicited and gets more than one answer. */
  readonly quiet?: boolean;
  /** The gate does not see how the session ends, so that it lapses only later. Default false. */
  readonly unseen?: boolean;
  /** A warning that has to be counted. Default none. */
  readonly warns?: Warning;
}

/** One request and its answer, in bytes of our own. */
export interface Spelt {
  phone: Buffer | string;
  /** Where the phone posts to. Default the path of captures. */
  target?: string;
  /** Further header lines. */
  phoneHeaders?: readonly string[];
  service: Buffer | string;
  /** All header lines of the answer but its Content-Type; default its Content-Length. */
  serviceHeaders?: readonly string[];
  /** Default `HTTP/1.1 200 OK`. */
  status?: string;
  /** Default `text/xml`; null = none. */
  contentType?: string | null;
  /** Exchanges of one number share a connection. Default 1. */
  connection?: number;
  /** The service breaks off behind these bytes. */
  cut?: boolean;
}

export interface Sitting {
  reason?: string;
  outcome?: TranscriptOutcome;
  exchanges: readonly Spelt[];
}

/** A transcript out of exchanges. */
export function spelt(device: string, ...sittings: readonly Sitting[]): Transcript {
  return {
    name: 'spelt out',
    about: '',
    device,
    sessions: sittings.map(({ reason = 'solicited', outcome = 'completed', exchanges }) => ({
      reason,
      outcome,
      exchanges: exchanges.map((each) => ({
        connection: each.connection ?? 1,
        cut: each.cut ?? false,
        phone: request(each),
        service: answer(each),
      })),
    })),
  };
}

function request({ phone, target = '/DeploymentService/LoginService', phoneHeaders = [] }: Spelt): Buffer {
  const typed = phoneHeaders.some((line) => /^content-type:/i.test(line));
  return message(
    [
      `POST ${target} HTTP/1.1`,
      'Host: dls.example:18443',
      ...(typed ? [] : ['Content-Type: text/xml']),
      length(phone),
      ...phoneHeaders,
    ],
    phone,
  );
}

function answer({ service, serviceHeaders, status = 'HTTP/1.1 200 OK', contentType = 'text/xml' }: Spelt) {
  const type = contentType === null ? [] : [`Content-Type: ${contentType}`];
  return message([status, ...type, ...(serviceHeaders ?? [length(service)])], service);
}

function message(lines: readonly string[], body: Buffer | string): Buffer {
  const head = Buffer.from(`${lines.join('\r\n')}\r\n\r\n`, 'latin1');
  return Buffer.concat([head, typeof body === 'string' ? Buffer.from(body, 'utf8') : body]);
}

/** The header line that says how long a body is. */
export const length = (body: Buffer | string): string => `Content-Length: ${Buffer.byteLength(body)}`;
