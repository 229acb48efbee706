/** One `Item` of a message. */
export interface WpiItem {
  readonly name: string;
  /** As written; null where the item has none. 0-based or 1-based, depending on the item. */
  readonly index: string | null;
  /** `failed`, `unknown item`, `read only`, `secure`, …, in lower case; null where the item has none. */
  readonly status: string | null;
  readonly value: string;
}

/** What a phone says to its service (Developer's Guide p. 28). */
export interface PhoneMessage {
  /** Empty where missing. The service's answer repeats it. */
  readonly nonce: string;
  /** The most items that the phone takes in one answer; null = no limit or not said. */
  readonly maxItems: number | null;
  /** `next`: more parts follow on GetNextFragment; `final`; null where not said. */
  readonly fragment: string | null;
  /** ReasonForContact in lower case: `start-up`, `solicited`, `reply-to`, `clean-up`, …. */
  readonly reason: string;
  /** On `reply-to`: the Action that is answered, in its usual spelling where it is a known one. */
  readonly action: string | null;
  /** On `reply-to`: `accepted`, `failed`, `busy`, in lower case. */
  readonly status: string | null;
  readonly items: readonly WpiItem[];
}

/** What a service says to a phone (Developer's Guide p. 30). */
export interface ServiceMessage {
  /** Empty where missing. */
  readonly nonce: string;
  /** In its usual spelling where it is a known one. */
  readonly action: string;
  readonly items: readonly WpiItem[];
}

export const WPI_ACTIONS = [
  'ReadAllItems',
  'ReadItems',
  'WriteItems',
  'Restart',
  'FileDeployment',
  'SoftwareDeployment',
  'GetNextFragment',
  'CleanUp',
] as const;

const USUAL_SPELLING: ReadonlyMap<string, string> = new Map(
  WPI_ACTIONS.map((action) => [action.toLowerCase(), action]),
);

/** The usual spelling of an action's name, whatever its letter case. */
export function usualAction(name: string): string {
  return USUAL_SPELLING.get(name.toLowerCase()) ?? name;
}

/**
 * The value of the items of that name; null where there is none that has text, or where they contradict each
 * other. Items that failed carry no value.
 */
export function itemValue(items: readonly WpiItem[], name: string): string | null {
  let value: string | null = null;
  for (const item of items) {
    if (item.name !== name || item.status === 'failed' || item.value === '') continue;
    if (value !== null && value !== item.value) return null;
    value = item.value;
  }
  return value;
}

/** Whether there is an item of that name, with or without a value. */
export function hasItem(items: readonly WpiItem[], name: string): boolean {
  return items.some((item) => item.name === name);
}
