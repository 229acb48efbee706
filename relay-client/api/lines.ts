import { describeError, isSallyportError } from '../../shared/errors.ts';
import { DeskError } from './desk-error.ts';

/** The longest line of an answer in characters. */
const LINE_LIMIT = 2 ** 20;
/** How much is gathered before it is sent, in characters. */
const CHUNK_CHARS = 16 * 1024;

/** Values as lines of JSON, in chunks. */
export async function* jsonLines(
  lines: AsyncIterable<object> | Iterable<object>,
): AsyncGenerator<Uint8Array> {
  const encoder = new TextEncoder();
  let text = '';
  for await (const line of lines) {
    text += `${JSON.stringify(line)}\n`;
    if (text.length < CHUNK_CHARS) continue;
    yield encoder.encode(text);
    text = '';
  }
  if (text !== '') yield encoder.encode(text);
}

/** The lines of an answer's body, without their ends. */
export async function* textLines(response: Response): AsyncGenerator<string> {
  if (response.body === null) return;
  let rest = '';
  try {
    for await (const part of response.body.pipeThrough(new TextDecoderStream())) {
      const lines = (rest + part).split('\n');
      rest = lines.pop() ?? '';
      if (rest.length > LINE_LIMIT)
        throw new DeskError(
          'API_UNREADABLE',
          `An answer's line is over ${LINE_LIMIT} characters`,
          response.status,
        );
      yield* lines;
    }
  } catch (error) {
    if (isSallyportError(error)) throw error;
    throw new DeskError(
      'API_UNREACHABLE',
      `The answer of ${response.url} broke off: ${describeError(error)}`,
      response.status,
      { cause: error },
    );
  }
  if (rest !== '') yield rest;
}
