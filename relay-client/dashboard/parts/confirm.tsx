import type { ComponentChildren, JSX } from 'preact';
import { useEffect, useRef, useState } from 'preact/hooks';
import { describe } from '../data/api.ts';

/** A button whose deed is asked about first, and told of afterwards. */
export interface Deed {
  label: string;
  /** What the person is asked; null = it is done at once. */
  question: { title: string; text: ComponentChildren; yes: string; grave?: boolean } | null;
  /** Resolves to what was done, in a sentence. */
  act: () => Promise<string>;
  primary?: boolean;
  disabled?: boolean;
}

export function DeedButton({ deed, done }: { deed: Deed; done: (told: Told) => void }): JSX.Element {
  const dialog = useRef<HTMLDialogElement>(null);
  const [asking, setAsking] = useState(false);
  const [busy, setBusy] = useState(false);
  const { question } = deed;

  useEffect(() => {
    if (asking) dialog.current?.showModal();
  }, [asking]);

  async function act(): Promise<void> {
    setBusy(true);
    try {
      done({ good: true, text: await deed.act() });
    } catch (error) {
      done({ good: false, text: `${deed.label}: ${describe(error)}` });
    } finally {
      setBusy(false);
      dialog.current?.close();
    }
  }

  return (
    <>
      <button
        type="button"
        class={deed.primary === true ? 'primary' : ''}
        disabled={deed.disabled === true || busy}
        onClick={() => (question === null ? void act() : setAsking(true))}
      >
        {deed.label}
      </button>
      {question !== null && asking ? (
        <dialog ref={dialog} aria-label={question.title} onClose={() => setAsking(false)}>
          <h2>{question.title}</h2>
          <div>{question.text}</div>
          <div class="buttons end">
            <button type="button" onClick={() => dialog.current?.close()} disabled={busy}>
              Keep as it is
            </button>
            <button
              type="button"
              class={question.grave === true ? 'grave' : 'primary'}
              onClick={() => void act()}
              disabled={busy}
            >
              {question.yes}
            </button>
          </div>
        </dialog>
      ) : null}
    </>
  );
}

/** What came of a deed. */
export interface Told {
  good: boolean;
  text: string;
}

export function Outcome({ told }: { told: Told | null }): JSX.Element {
  return (
    <div aria-live="polite" class="told">
      {told === null ? null : (
        <p class={told.good ? 'success' : 'fault'}>
          <span aria-hidden="true">{told.good ? '✓' : '✕'}</span> {told.text}
        </p>
      )}
    </div>
  );
}
