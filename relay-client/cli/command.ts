import { readFileSync } from 'node:fs';
import type { Command } from 'commander';
import { createDeskClient, DeskError } from '../api/client.ts';
import type { DeskClient } from '../api/client.ts';
import { SECRET_ITEMS } from '../courier/secrets.ts';
import { describeError, isSallyportError, SallyportError } from '../../shared/errors.ts';
import { defaultConfigFile } from '../../shared/program.ts';
import type { Io } from './io.ts';

/** Where the API is and what opens it. */
export interface ApiAddress {
  url: string;
  /** Null = none is needed. */
  token: string | null;
  /** Patterns of items that are secret there, as its config has them; left out = nobody knows, so the defaults. */
  secretItems?: readonly string[];
}

/** Finds the API by the relay's config. */
export type ResolveApi = (options: { config?: string }) => ApiAddress | Promise<ApiAddress>;

/** Where the relay's config is, unless the command line says otherwise. */
export const DEFAULT_CONFIG = defaultConfigFile('relay');
/** The option by which commands that work without a running relay find its config. */
export const CONFIG_OPTION = ['-c, --config <file>', 'config file', DEFAULT_CONFIG] as const;

/** The option by which all commands that print do it for programs. */
export const JSON_OPTION = ['--json', 'print JSON, one value a line'] as const;

/** Options that every desk command has. */
export interface CommonOptions {
  config?: string;
  api?: string;
  tokenFile?: string;
  json?: boolean;
}

/** What a command works with. */
export interface Desk {
  client: DeskClient;
  io: Io;
  json: boolean;
  /** Patterns of items whose values are not shown. */
  secretItems: readonly string[];
  /** Prints one value as one line of JSON. */
  printJson(value: unknown): void;
}

export const OK = 0;
export const FAILED = 1;
export const USAGE = 2;

/** What a command needs besides its own options. */
export interface Surroundings {
  resolveApi: ResolveApi;
  io: Io;
}

/** Adds what every desk command has in common. */
export function common(command: Command): Command {
  return command
    .option('-c, --config <file>', "the relay's config, which says where its API is")
    .option('--api <url>', 'address of the API, instead (or SALLYPORT_API)')
    .option('--token-file <file>', "the API's token, instead (or SALLYPORT_TOKEN_FILE)")
    .option(...JSON_OPTION);
}

/** Makes a commander action of `task`: opens the desk, tells errors in a line, sets the exit code. */
export function action<O>(
  { resolveApi, io }: Surroundings,
  task: (desk: Desk, options: O, args: string[]) => Promise<number>,
): (...given: unknown[]) => Promise<void> {
  return async (...given) => {
    const command = given.at(-1) as Command;
    const options = command.optsWithGlobals<O & CommonOptions>();
    try {
      const { secretItems = SECRET_ITEMS, ...api } = await findApi(options, io, resolveApi);
      const client = createDeskClient(api);
      const printJson = (value: unknown): void => io.out(`${JSON.stringify(value)}\n`);
      const desk = { client, io, json: options.json === true, secretItems, printJson };
      io.exit(await task(desk, options, command.args));
    } catch (error) {
      if (io.signal.aborted) return io.exit(FAILED);
      io.err(`${command.parent?.name() ?? command.name()}: ${tell(error)}\n`);
      io.exit(isSallyportError(error, 'CONFIG_INVALID') || error instanceof UsageError ? USAGE : FAILED);
    }
  };
}

/** Statuses that concern one device, not the relay as a whole. */
const REFUSED_ALONE = new Set([400, 409, 429, 503]);

/** What the relay said to a request about one of many devices; any other error is thrown on, as all the others would meet it too. */
export function refusedAlone(error: unknown): { code: string; message: string; field?: string } {
  if (!(error instanceof DeskError) || !REFUSED_ALONE.has(error.status)) throw error;
  const { code, message, field } = error;
  return { code, message, ...(field === null ? {} : { field }) };
}

/** The command line was wrong in a way that the parser couldn't see. */
export class UsageError extends Error {}

function tell(error: unknown): string {
  if (isSallyportError(error, 'UNAUTHORIZED'))
    // What the relay says after it is for those who speak HTTP.
    return `${error.message.split(';')[0]}: give it by --token-file FILE, or api.token_file in --config`;
  return describeError(error);
}

async function findApi(options: CommonOptions, { env }: Io, resolveApi: ResolveApi): Promise<ApiAddress> {
  const url = options.api ?? env['SALLYPORT_API'];
  const tokenFile = options.tokenFile ?? env['SALLYPORT_TOKEN_FILE'];
  const token = tokenFile === undefined ? null : readToken(tokenFile);
  if (url !== undefined && (token !== null || options.config === undefined)) return { url, token };
  const found = await resolveApi(options.config === undefined ? {} : { config: options.config });
  return { ...found, url: url ?? found.url, token: token ?? found.token };
}

function readToken(file: string): string {
  let text: string;
  try {
    text = readFileSync(file, 'utf8').trim();
  } catch (cause) {
    throw new SallyportError(
      'FILE_UNREADABLE',
      `Token file ${file} cannot be read: ${describeError(cause)}`,
      { cause },
    );
  }
  if (text !== '' && !/\s/.test(text)) return text;
  throw new SallyportError('FILE_UNREADABLE', `Token file ${file} should hold one word, the token`);
}
