import { formatAddress, isWildcard, parseAddress } from '../../shared/address.ts';
import type { Address } from '../../shared/address.ts';
import { asWritten, besideFile, readYamlFile } from '../../shared/config-text.ts';
import { SallyportError } from '../../shared/errors.ts';
import { DEFAULT_API_LISTEN } from '../default-api.ts';
import type { ApiAddress } from './command.ts';

/** What commands have to know of a config to ask the relay that runs by it. */
interface ApiPart {
  listen: Address;
  tokenFile: string | null;
  /** Undefined = as by default. */
  secretItems?: readonly string[];
}

/**
 * Where the relay of a config has its API.
 *
 * @throws ConfigError where its config does not say so; SallyportError CONFIG_INVALID
 */
export async function apiOf(file: string): Promise<ApiAddress> {
  const { listen, tokenFile, secretItems } = glance(file) ?? (await look(file));
  const host = isWildcard(listen) ? (listen.host.includes(':') ? '::1' : '127.0.0.1') : listen.host;
  return {
    url: `http://${formatAddress({ host, port: listen.port })}`,
    token: tokenFile === null ? null : (await import('../secrets.ts')).readToken(tokenFile),
    ...(secretItems === undefined ? {} : { secretItems }),
  };
}

/**
 * Reads three fields and nothing else, in half the time that the whole config takes; and a fault elsewhere in it, such as
 * one that is being written, hides the running relay from nobody. Null = one of them is not plain.
 */
function glance(file: string): ApiPart | null {
  const written = asWritten(readYamlFile(file).values);
  const [api, courier] = [written.map('api'), written.map('courier')];
  const [listen, tokenFile] = [api.text('listen'), api.text('token_file')];
  if (written.has('api') ? listen === undefined : listen !== undefined) return null;
  if (api.has('token_file') && tokenFile === undefined) return null;
  const secretItems = courier.has('secret_items') ? courier.texts('secret_items') : undefined;
  if (secretItems?.some((item) => item === '') === true || secretItems?.length === 0) return null;
  try {
    return {
      listen: parseAddress(listen ?? DEFAULT_API_LISTEN),
      tokenFile: tokenFile === undefined ? null : besideFile(file)(tokenFile),
      ...(secretItems === undefined ? {} : { secretItems }),
    };
  } catch {
    // The whole config says it in the words of its report.
    return null;
  }
}

async function look(file: string): Promise<ApiPart> {
  const { loadRelayConfig } = await import('../config.ts');
  const { api, courier } = loadRelayConfig(file);
  if (api === null) throw new SallyportError('CONFIG_INVALID', `${file} has no api`);
  return { ...api, secretItems: courier.secretItems };
}
