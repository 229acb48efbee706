import { createReadStream } from 'node:fs';
import { createInterface } from 'node:readline';
import { describeError, SallyportError } from '../../shared/errors.ts';

/** What a command says of where its device ids come from. */
export const DEVICES_HELP = 'device ids; - reads them from standard input, one a line';

/**
 * The device ids of a command line: `-` stands for those on standard input, one a line, where blank lines and what follows
 * a `#` are passed over. Then those of `file`, written the same way.
 *
 * @throws SallyportError FILE_UNREADABLE naming the file
 */
export async function* deviceIds(args: readonly string[], file?: string): AsyncGenerator<string> {
  for (const device of args) {
    if (device === '-') yield* idLines(process.stdin);
    else yield device;
  }
  if (file === undefined) return;
  try {
    yield* idLines(createReadStream(file));
  } catch (cause) {
    throw new SallyportError('FILE_UNREADABLE', `${file} cannot be read: ${describeError(cause)}`, { cause });
  }
}

async function* idLines(stream: NodeJS.ReadableStream): AsyncGenerator<string> {
  for await (const line of createInterface({ input: stream })) {
    const device = line.replace(/#.*/, '').trim();
    if (device !== '') yield device;
  }
}
