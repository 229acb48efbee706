/** Statuses that a poll door answers; nothing else ever leaves it. */
export const POLL_STATUSES = [200, 202, 400, 404, 405, 503] as const;

export type PollStatus = (typeof POLL_STATUSES)[number];

/**
 * How the connection goes on after an answer: `stay` (HTTP/1.1, where it is the rule), `stay10` (HTTP/1.0, where
 * it has to be said), `close`.
 */
export type Persistence = 'stay' | 'stay10' | 'close';

const REASONS: Record<PollStatus, string> = {
  200: 'OK',
  202: 'Accepted',
  400: 'Bad Request',
  404: 'Not Found',
  405: 'Method Not Allowed',
  503: 'Service Unavailable',
};

const CONNECTION: Record<Persistence, string> = {
  stay: '',
  stay10: 'Connection: keep-alive\r\n',
  close: 'Connection: close\r\n',
};

/**
 * All answers, made once. There is no Date field: the answer to an unknown device has to be the same to the byte
 * as that to a known one, whenever it is given, and phones look at the status only (RFC 9110 §6.6.1 asks for Date
 * from servers that have a clock; this door does not offer one).
 */
const ANSWERS = {
  stay: answersOf('stay'),
  stay10: answersOf('stay10'),
  close: answersOf('close'),
};

/** The whole answer. Its bytes are shared: never write into them. */
export function answer(status: PollStatus, persistence: Persistence): Buffer {
  return ANSWERS[persistence][status];
}

function answersOf(persistence: Persistence): Record<PollStatus, Buffer> {
  const entries = POLL_STATUSES.map((status) => {
    // RFC 9110 §15.5.6: a 405 names the methods that would do.
    const allow = status === 405 ? 'Allow: GET, HEAD\r\n' : '';
    const head = `HTTP/1.1 ${status} ${REASONS[status]}\r\n${allow}Content-Length: 0\r\n`;
    return [status, Buffer.from(`${head}${CONNECTION[persistence]}\r\n`, 'latin1')] as const;
  });
  return Object.fromEntries(entries) as Record<PollStatus, Buffer>;
}
