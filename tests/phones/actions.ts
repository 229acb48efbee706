/** What a phone does on each Action of the service, and what it answers (DG p.30–31, 42–56, 69–76). */
import type { ItemStore } from './items.ts';
import { READ_ONLY_ITEMS } from './items.ts';
import { itemValue, type Item, type PhoneMessage, type ServiceMessage } from './message.ts';

/** What an action leaves to be done once the session is over. */
export type Aftermath =
  | { do: 'restart'; factoryReset: boolean }
  | { do: 'new-software'; version: string }
  | { do: 'transfer'; url: string | undefined; name: string; type: string }
  | { do: 'secure-mode'; port: number };

export type ActorOptions = {
  items: ItemStore;
  inCall: () => boolean;
  /** Items (by count) above which a reply is split; 0 means only the 50 kB limit of DG p.69 splits. */
  fragmentItems: number;
  /** Names that WriteItems refuses as `unknown item`. */
  unknownItems: ReadonlySet<string>;
  /** Names that WriteItems refuses as `failed`. */
  failingItems: ReadonlySet<string>;
  /** Refuse empty values as `missing item content`. */
  refuseEmpty: boolean;
  /** Messages with more items fail as a whole; Infinity = none does. */
  maxItems: number;
  /** Actions that fail as a whole. */
  failingActions: ReadonlySet<string>;
  /** `action` attribute of the parts after the first. */
  fragmentAction: 'GetNextFragment' | 'original';
  /** Called after WriteItems has stored its items. */
  written: (items: readonly Item[]) => void;
};

export type Actor = {
  /** The reply to an action other than CleanUp. */
  perform(message: ServiceMessage): PhoneMessage;
  /** What the actions of this session asked for, oldest first. */
  aftermath(): Aftermath[];
};

/** Largest message before a phone splits it, DG p.69 ("50 kB"). */
export const FRAGMENT_BYTES = 50_000;
/** The password that Restart with FactoryReset must carry: a constant printed in DG p.50. */
export const FACTORY_RESET_PASSWORD = '124816';

/** Makes the actor of one session: fragments and aftermath do not outlive it. */
export function createActor(options: ActorOptions): Actor {
  const { items } = options;
  const after: Aftermath[] = [];
  let parts: { action: string; rest: Item[] } | undefined;

  function reply(action: string, status: 'accepted' | 'failed' | 'busy', list: Item[] = []): PhoneMessage {
    return { reason: 'reply-to', action, status, fragment: 'final', items: list };
  }

  function part(action: string, list: Item[], first: boolean): PhoneMessage {
    const limit = options.fragmentItems > 0 ? options.fragmentItems : Infinity;
    let bytes = 0;
    let take = 0;
    for (const item of list) {
      bytes += 60 + item.name.length + Buffer.byteLength(item.value);
      if (take >= limit || (take > 0 && bytes > FRAGMENT_BYTES)) break;
      take += 1;
    }
    const rest = list.slice(take);
    parts = rest.length > 0 ? { action, rest } : undefined;
    const named = first || options.fragmentAction === 'original' ? action : 'GetNextFragment';
    return { ...reply(named, 'accepted', list.slice(0, take)), fragment: rest.length > 0 ? 'next' : 'final' };
  }

  function read(wanted: readonly Item[]): Item[] {
    return wanted.flatMap((want): Item[] => {
      const index = want.index === undefined ? {} : { index: want.index };
      const value = items.get(want.name, want.index);
      if (value !== undefined) return [{ name: want.name, ...index, value }];
      const indexed = want.index === undefined ? items.named(want.name) : [];
      return indexed.length > 0 ? indexed : [{ name: want.name, ...index, value: '', status: 'failed' }];
    });
  }

  function write(list: readonly Item[]): PhoneMessage {
    const refused: Item[] = [];
    const stored: Item[] = [];
    for (const item of list) {
      const index = item.index === undefined ? {} : { index: item.index };
      const status = READ_ONLY_ITEMS.has(item.name)
        ? 'read only'
        : options.unknownItems.has(item.name) || item.name === ''
          ? 'unknown item'
          : options.failingItems.has(item.name)
            ? 'failed'
            : options.refuseEmpty && item.value === ''
              ? 'missing item content'
              : undefined;
      if (status !== undefined) refused.push({ name: item.name, ...index, value: '', status });
      else {
        items.set(item.name, item.value, item.index);
        stored.push(item);
      }
    }
    const secure = itemValue(list, 'goto-secure-mode');
    const port = Number(itemValue(list, 'dls-secure-port') ?? items.get('dls-secure-port') ?? 18444);
    if (secure === 'nopin') after.push({ do: 'secure-mode', port });
    options.written(stored);
    return reply('WriteItems', 'accepted', refused);
  }

  function restart(list: readonly Item[]): PhoneMessage {
    const factoryReset = itemValue(list, 'restart-type') === 'FactoryReset';
    if (factoryReset && itemValue(list, 'restart-password') !== FACTORY_RESET_PASSWORD)
      return reply('Restart', 'failed');
    after.push({ do: 'restart', factoryReset });
    return reply('Restart', 'accepted');
  }

  /** `file-priority` is documented as normal|immediate and seen as 0|1; immediate is the default (DG p.55). */
  function patient(list: readonly Item[]): boolean {
    return ['normal', '0'].includes(itemValue(list, 'file-priority')?.toLowerCase() ?? '');
  }

  function deploy(list: readonly Item[]): PhoneMessage {
    const names = list.filter((item) => item.name === 'file-name' || item.name === 'file-https-base-url');
    if (names.length === 0) return reply('FileDeployment', 'failed');
    const remove = itemValue(list, 'file-action')?.toLowerCase() === 'delete';
    const several = names.some((item) => item.index !== undefined);
    // Only a single deployment is followed by a status session (DG p.54).
    if (!remove && !several) {
      const url = itemValue(list, 'file-https-base-url');
      const name = itemValue(list, 'file-name') ?? url?.split('/').at(-1) ?? '';
      after.push({ do: 'transfer', url, name, type: itemValue(list, 'file-type') ?? '' });
    }
    return reply('FileDeployment', 'accepted');
  }

  return {
    perform(message) {
      const { action } = message;
      if (action !== 'GetNextFragment') parts = undefined;
      if (options.failingActions.has(action) || message.items.length > options.maxItems) {
        return reply(action, 'failed');
      }
      switch (action) {
        case 'ReadAllItems':
          return part(action, items.all(), true);
        case 'ReadItems':
          return part(action, read(message.items), true);
        case 'GetNextFragment':
          return parts ? part(parts.action, parts.rest, false) : reply(action, 'failed');
        case 'WriteItems':
          return options.inCall() ? reply(action, 'busy') : write(message.items);
        case 'Restart':
          return options.inCall() ? reply(action, 'busy') : restart(message.items);
        case 'FileDeployment':
          return options.inCall() && patient(message.items) ? reply(action, 'busy') : deploy(message.items);
        case 'SoftwareDeployment': {
          if (options.inCall() && patient(message.items)) return reply(action, 'busy');
          const version = itemValue(message.items, 'file-sw-version');
          if (version === undefined) return reply(action, 'failed');
          after.push({ do: 'new-software', version });
          return reply(action, 'accepted');
        }
        default:
          return reply(action === '' ? 'unknown' : action, 'failed');
      }
    },
    aftermath: () => after,
  };
}
