import type { Quirk } from '../quirk.ts';
import { PHONE_QUIRKS } from './phones.ts';
import { SERVICE_QUIRKS } from './services.ts';
import { TRANSCRIPT_QUIRKS } from './transcripts.ts';
import { TRANSPORT_QUIRKS } from './transport.ts';

/** All of them, under the headings of docs/conformance.md, in the order in which they have to be played. */
export const QUIRKS: Readonly<Record<string, readonly Quirk[]>> = {
  'How messages travel': TRANSPORT_QUIRKS,
  'How services write': SERVICE_QUIRKS,
  'How phones write': PHONE_QUIRKS,
  'Whole exchanges': TRANSCRIPT_QUIRKS,
};
