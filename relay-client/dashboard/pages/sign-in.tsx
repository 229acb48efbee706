import type { JSX } from 'preact';
import { useEffect, useRef, useState } from 'preact/hooks';
import type { SessionBody } from '../../api/shapes/session.ts';
import { describe, signIn } from '../data/api.ts';
import { Fault } from '../parts/blocks.tsx';

/** Asks for the token once; from then on a cookie stands for it. */
export function SignIn({ done }: { done: (session: SessionBody) => void }): JSX.Element {
  const [token, setToken] = useState('');
  const [fault, setFault] = useState<string | null>(null);
  const [busy, setBusy] = useState(false);
  const field = useRef<HTMLInputElement>(null);
  useEffect(() => {
    document.title = 'Sign in · Sallyport';
    field.current?.focus();
  }, []);

  async function submit(): Promise<void> {
    setBusy(true);
    setFault(null);
    try {
      done(await signIn(token));
    } catch (error) {
      setFault(describe(error));
      setToken('');
      field.current?.focus();
    } finally {
      setBusy(false);
    }
  }

  return (
    <main class="sign-in">
      <h1>Sallyport</h1>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          void submit();
        }}
      >
        <label>
          <span>API token</span>
          <input
            ref={field}
            type="password"
            value={token}
            required
            autocomplete="current-password"
            aria-describedby="token-help"
            onInput={(event) => setToken(event.currentTarget.value)}
          />
        </label>
        <p id="token-help" class="muted">
          It stands in the file that <code>api.token_file</code> names in the relay's config.
        </p>
        <Fault text={fault} />
        <button type="submit" class="primary" disabled={busy}>
          Sign in
        </button>
      </form>
    </main>
  );
}
