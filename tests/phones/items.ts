/** The configuration items of a simulated phone: a base shared by all phones and each phone's own differences. */
import type { Item } from './message.ts';

/** Items that WriteItems may not change; they come back as `read only`. */
export const READ_ONLY_ITEMS: ReadonlySet<string> = new Set([
  'mac-addr',
  'contact-me-uri',
  'device-type',
  'part-number',
  'software-type',
  'software-version',
  'sip-mobility-state',
]);

export type ItemStore = {
  get(name: string, index?: string): string | undefined;
  set(name: string, value: string, index?: string): void;
  /** Everything, base items first, each once. */
  all(): Item[];
  /** Every index of one name. */
  named(name: string): Item[];
  /** Back to the base: a factory reset. */
  reset(): void;
};

const key = (name: string, index: string | undefined): string =>
  index === undefined ? name : `${name}\n${index}`;

function item(itemKey: string, value: string): Item {
  const cut = itemKey.indexOf('\n');
  return cut < 0
    ? { name: itemKey, value }
    : { name: itemKey.slice(0, cut), index: itemKey.slice(cut + 1), value };
}

/** @param base is shared between phones and never changed. */
export function createItemStore(base: ReadonlyMap<string, string>): ItemStore {
  let own = new Map<string, string>();
  return {
    get: (name, index) => own.get(key(name, index)) ?? base.get(key(name, index)),
    set(name, value, index) {
      own.set(key(name, index), value);
    },
    all() {
      const items: Item[] = [];
      for (const [itemKey, value] of base) items.push(item(itemKey, own.get(itemKey) ?? value));
      for (const [itemKey, value] of own) if (!base.has(itemKey)) items.push(item(itemKey, value));
      return items;
    },
    named(name) {
      return this.all().filter((one) => one.name === name);
    },
    reset() {
      own = new Map();
    },
  };
}

/** About 250 items, so that a ReadAllItems reply is near the 20 kB seen from a load simulator of the real service. */
export function baseItems(): Map<string, string> {
  const items = new Map<string, string>();
  const put = (name: string, value: string, index?: number): void => {
    items.set(key(name, index === undefined ? undefined : String(index)), value);
  };
  const plain: Record<string, string> = {
    'device-type': 'OpenStage 60',
    'software-type': 'Siemens SIP',
    'software-version': 'V3 R1.41.1',
    'part-number': 'S30817-S7403-A101-9',
    'gigabit-ethernet': 'true',
    'backlight-type': '1',
    'mobility-enabled': 'false',
    e164: '',
    'basic-e164': '',
    'reg-addr': '192.0.2.10',
    'reg-port': '5060',
    'sip-transport': '2',
    realm: 'phones',
    'terminal-name': '',
    'user-pwd': '000000',
    'admin-pwd': '123456',
    'ntp-addr': '192.0.2.20',
    'time-zone-offset': '1',
    'dhcp-enabled': 'true',
    'default-route': '192.0.2.1',
    'ip-addr': '192.0.2.100',
    'ip-mask': '255.255.255.0',
    'vlan-method': '1',
    'qos-layer3': 'true',
    'dls-contact-interval': '300',
    'dls-chunk-size': '5492',
    'dls-mode-secure': '0',
    'country-iso': 'DE',
    'language-iso': 'de',
    'display-text': 'Töne & <Anrufe> "intern"',
  };
  for (const [name, value] of Object.entries(plain)) put(name, value);
  for (let index = 1; index <= 60; index += 1) {
    put('function-key-def', '0', index);
    put('key-label-unicode', `Taste ${index}`, index);
    put('stimulus-dtmf-sequence', '', index);
  }
  for (let index = 0; index < 40; index += 1) put('codec-priority', String(index), index);
  return items;
}
