/**
 * `sallyport/wpi`: what phones and their provisioning service say to each other, read and built as the relay does it.
 * Nothing of the relay comes with it.
 *
 * ```ts
 * import { buildServiceMessage, readPhoneMessage } from 'sallyport/wpi';
 *
 * const message = readPhoneMessage(body);                       // what a phone posted
 * if ('unreadable' in message) throw new Error(message.unreadable);
 * const answer = buildServiceMessage({ nonce: message.nonce, action: 'CleanUp' });
 * ```
 */
export { buildPhoneMessage, buildServiceMessage } from './build.ts';
export type { NewItem, NewPhoneMessage, NewServiceMessage } from './build.ts';
export { WPI_SIZE_LIMIT, WPI_UNUSUAL_SIZE_LIMIT } from './document.ts';
export type { Unreadable, UnreadableReason } from './document.ts';
export { hasItem, itemValue, WPI_ACTIONS } from './message.ts';
export type { PhoneMessage, ServiceMessage, WpiItem } from './message.ts';
export { isSigned, readPhoneMessage, readServiceMessage } from './read.ts';
