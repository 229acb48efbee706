import { render } from 'preact';
import { App } from './app.tsx';
import { applyTheme, storedTheme } from './parts/theme.tsx';
import './style.css';

applyTheme(storedTheme());
const place = document.getElementById('app');
if (place !== null) {
  place.replaceChildren();
  render(<App />, place);
}
