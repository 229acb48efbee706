import { loadTranscripts } from '../../fixtures/transcripts/index.ts';
import type { Fate, Quirk } from '../quirk.ts';

/** Where each recorded exchange has its habits from. */
const SOURCES: Readonly<Record<string, string>> = {
  'cp210-start-up': 'CP210, capture of Pentagrid',
  'gemeinschaft-solicited': 'Gemeinschaft, capture',
  'dls-signed-solicited': 'the vendor’s DLS (DMOS)',
  'dlsir-solicited': 'DLSIR',
  'gs5-start-up': 'GS5',
  'busy-send-solicited': 'Developer’s Guide p. 72–76',
  'busy-plain': 'Developer’s Guide p. 46',
  'overload-repeated': 'the vendor’s DLS (DMOS)',
  'overload-only': 'the vendor’s DLS (DMOS)',
  fragments: 'Developer’s Guide p. 69–71',
  'mobility-logon': 'OpenStage 60 (DMOS)',
  'whitespace-solicited': 'Developer’s Guide, samples',
  'phone-clean-up': 'WPI-PHP; Developer’s Guide p. 13',
  'cut-answer': 'any',
  'cut-before-answer': 'any',
  'empty-nonce-clean-up': 'Gemeinschaft',
  'wrong-tan': 'Developer’s Guide p. 66',
  'end-204': 'DLSIR',
  'softphone-start-up': 'Gemeinschaft',
  'send-solicited-more-jobs': 'Developer’s Guide p. 74',
  'chunked-answers': 'Developer’s Guide p. 12',
  'http10-items-outside': 'samples of Pentagrid',
  'local-changes-attached': 'Developer’s Guide p. 40',
  restart: 'Developer’s Guide p. 50; DMOS',
};

/** The recorded exchanges, each as a quirk of its own. */
export const TRANSCRIPT_QUIRKS: readonly Quirk[] = loadTranscripts().map((transcript) => {
  const source = SOURCES[transcript.name];
  if (source === undefined) throw new Error(`transcript ${transcript.name} has no source in this table`);
  const done = transcript.sessions.some(
    ({ reason, outcome }) => reason === 'solicited' && outcome === 'completed',
  );
  const expects: Fate = done ? 'cleared' : 'stays pending';
  return {
    id: `transcript-${transcript.name}`,
    what: transcript.about.replace(/\.$/, ''),
    source,
    expects,
    // Nothing that anybody could read was asked of that phone.
    ...(transcript.name === 'phone-clean-up' ? { quiet: false } : {}),
    script: () => transcript,
  };
});
