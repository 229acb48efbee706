import type { JSX } from 'preact';
import { useEffect, useState } from 'preact/hooks';
import type { StatusBody } from '../api/shapes/relay.ts';
import type { SessionBody } from '../api/shapes/session.ts';
import { ask, describe, onSignedOut, readSession, signOut } from './data/api.ts';
import { startLive, stopLive } from './data/live.ts';
import { href, usePlace } from './data/route.ts';
import type { Place } from './data/route.ts';
import { useLive } from './data/use.ts';
import { Empty, Fault, Heading, Loading } from './parts/blocks.tsx';
import { applyTheme, storedTheme, ThemeButton } from './parts/theme.tsx';
import type { Theme } from './parts/theme.tsx';
import { Badge } from './parts/words.tsx';
import { Campaigns } from './pages/campaigns.tsx';
import { Device } from './pages/device.tsx';
import { Devices } from './pages/devices.tsx';
import { Events } from './pages/events.tsx';
import { Overview } from './pages/overview.tsx';
import { Proxies } from './pages/proxies.tsx';
import { SignIn } from './pages/sign-in.tsx';

const RETRY_MS = 3_000;

/** Signing in where that is needed, then the pages. */
export function App(): JSX.Element {
  const [session, setSession] = useState<SessionBody | null>(null);
  const [relay, setRelay] = useState<StatusBody | null>(null);
  const [fault, setFault] = useState<string | null>(null);
  const [tries, setTries] = useState(0);
  const signedIn = session?.signed_in === true;

  useEffect(
    () => onSignedOut(() => setSession((now) => now && { ...now, signed_in: false, csrf: null })),
    [],
  );

  useEffect(() => {
    if (signedIn && relay !== null) return;
    let timer: ReturnType<typeof setTimeout> | undefined;
    const begin = async (): Promise<void> => {
      try {
        const now = session?.signed_in === true ? session : await readSession();
        setSession(now);
        if (now.signed_in) setRelay(await ask<StatusBody>('GET', 'v1/status'));
        setFault(null);
      } catch (error) {
        setFault(describe(error));
        timer = setTimeout(() => setTries(tries + 1), RETRY_MS);
      }
    };
    void begin();
    return () => clearTimeout(timer);
  }, [signedIn, tries]);

  useEffect(() => {
    if (!signedIn || relay === null) return;
    startLive(relay.sequence);
    return stopLive;
  }, [signedIn, relay]);

  if (session !== null && !session.signed_in) return <SignIn done={setSession} />;
  if (relay === null)
    return (
      <main class="sign-in">
        <h1>Sallyport</h1>
        {fault === null ? <Loading /> : <Fault text={fault} />}
      </main>
    );
  return (
    <Shell
      relay={relay}
      signOut={session?.needed === true ? () => void signOut().then(setSession, () => undefined) : null}
    />
  );
}

const PAGES = [
  ['', 'Overview'],
  ['devices', 'Devices'],
  ['campaigns', 'Campaigns'],
  ['proxies', 'Proxies'],
  ['events', 'Events'],
] as const;

function Shell({ relay, signOut: leave }: { relay: StatusBody; signOut: (() => void) | null }): JSX.Element {
  const place = usePlace();
  const [theme, setTheme] = useState<Theme>(storedTheme);
  const dark = useDark();
  const { path } = place;
  return (
    <>
      <a class="skip" href="#content" onClick={skip}>
        Skip to content
      </a>
      <header class="top">
        <a class="brand" href={href([])}>
          Sallyport
        </a>
        <span class="muted where">
          {relay.name}, site {relay.site}
        </span>
        <span class="spacer" />
        <Live />
        <ThemeButton
          theme={theme}
          set={(next) => {
            applyTheme(next);
            setTheme(next);
          }}
        />
        {leave === null ? null : (
          <button type="button" class="small" onClick={leave}>
            Sign out
          </button>
        )}
      </header>
      <nav class="pages" aria-label="Pages">
        <ul>
          {PAGES.map(([word, label]) => (
            <li key={word}>
              <a
                href={href(word === '' ? [] : [word])}
                aria-current={(path[0] ?? '') === word ? 'page' : undefined}
              >
                {label}
              </a>
            </li>
          ))}
        </ul>
      </nav>
      <main id="content" tabIndex={-1}>
        <Page place={place} theme={`${theme} ${dark ? 'dark' : 'light'}`} />
      </main>
      <footer class="muted">
        Sallyport relay {relay.version} · <a href="openapi.json">API</a> ·{' '}
        <a href="assets/licences.txt">Licences</a>
      </footer>
    </>
  );
}

/** The address holds the page, so the jump may not change it. */
function skip(event: Event): void {
  event.preventDefault();
  document.getElementById('content')?.focus();
}

function useDark(): boolean {
  const query = '(prefers-color-scheme: dark)';
  const [dark, setDark] = useState(() => matchMedia(query).matches);
  useEffect(() => {
    const list = matchMedia(query);
    const look = (): void => setDark(list.matches);
    list.addEventListener('change', look);
    return () => list.removeEventListener('change', look);
  }, []);
  return dark;
}

function Live(): JSX.Element {
  const { state } = useLive();
  return (
    <span role="status">
      {state === 'live' ? (
        <Badge tone="good">live</Badge>
      ) : state === 'connecting' ? (
        <Badge tone="calm">connecting</Badge>
      ) : (
        <Badge tone="warn">not live, trying again</Badge>
      )}
    </span>
  );
}

function Page({ place: { path, fields }, theme }: { place: Place; theme: string }): JSX.Element {
  const [page, id] = path;
  if (page === undefined) return <Overview theme={theme} />;
  if (page === 'devices' && id !== undefined) return <Device key={id} id={id} />;
  if (page === 'devices') return <Devices fields={fields} />;
  if (page === 'campaigns') return <Campaigns />;
  if (page === 'proxies') return <Proxies />;
  if (page === 'events') return <Events />;
  return (
    <>
      <Heading>Not found</Heading>
      <Empty title="There is no such page.">
        <p>
          <a href={href([])}>To the overview</a>
        </p>
      </Empty>
    </>
  );
}
