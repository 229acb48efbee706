import type { JSX } from 'preact';

/** Dark or light: as the system has it, unless somebody chose. */
export type Theme = 'system' | 'light' | 'dark';

const KEY = 'sallyport-theme';
const NEXT: Record<Theme, Theme> = { system: 'light', light: 'dark', dark: 'system' };

export function storedTheme(): Theme {
  try {
    const stored = localStorage.getItem(KEY);
    return stored === 'light' || stored === 'dark' ? stored : 'system';
  } catch {
    // A browser that keeps nothing for us has no choice of its own.
    return 'system';
  }
}

export function applyTheme(theme: Theme): void {
  if (theme === 'system') delete document.documentElement.dataset['theme'];
  else document.documentElement.dataset['theme'] = theme;
  try {
    localStorage.setItem(KEY, theme);
  } catch {
    // Then it holds until the page is closed.
  }
}

export function ThemeButton({ theme, set }: { theme: Theme; set: (theme: Theme) => void }): JSX.Element {
  return (
    <button type="button" class="small" onClick={() => set(NEXT[theme])}>
      Theme: {theme}
    </button>
  );
}
