/** How much one held message may ask for, and how much a phone may say to it. Nothing here is configured. */
export const COURIER_LIMITS = {
  /** Actions of one message. */
  actions: 50,
  /** Items of one message, over all its actions. */
  items: 5_000,
  /** Bytes of one message's actions, as JSON. */
  actionsBytes: 524_288,
  /** Bytes of one value. */
  valueBytes: 32_768,
  /** The largest index of an item. */
  index: 65_535,
  /** Bytes of one document for a phone: the 50 kB of the Developer's Guide, p. 69. Longer ones are split. */
  documentBytes: 50_000,
  /** Sessions in which actions are delivered at once; further ones go to the service, and the messages stay held. */
  sessions: 2_000,
  /** Answers of ours in one session after which no further action is begun; the rest waits for the next one. */
  answers: 500,
  /** Parts of the replies to one action. */
  fragments: 200,
  /** Items of one reply, over all its parts. */
  replyItems: 20_000,
  /** Bytes of names and values of one reply, over all its parts. */
  replyBytes: 1_048_576,
  /** Bytes of all replies that are being put together at once. */
  repliesBytes: 67_108_864,
  /** Bytes of one value in the results. */
  resultValueBytes: 4_096,
  /** Bytes of one message's results, as JSON. */
  resultBytes: 262_144,
} as const;

/** What a document takes besides its items: declaration, root, Message with the worst nonce that is answered, Action. */
export const DOCUMENT_FRAME_BYTES = 2_048;

/** The longest nonce that is answered; phones send 32 characters. */
export const NONCE_CHARS = 256;
