import { createHash } from 'node:crypto';

/** The page at `/`: the relay at a glance, from one request for its status. Loads nothing from anywhere else. */

const STYLE = `
:root { color-scheme: light dark; --line: #8884; --soft: #8882; --good: light-dark(#1a7f4b, #4cc38a); --bad: light-dark(#c0392b, #ff8a7a); }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 62rem; padding: 2rem 1.25rem; font: 15px/1.5 system-ui, sans-serif; }
header { display: flex; flex-wrap: wrap; gap: .5rem 1rem; align-items: baseline; }
h1 { font-size: 1.4rem; margin: 0; } h2 { font-size: 1rem; margin: 2rem 0 .5rem; }
.muted { opacity: .7; } .good { color: var(--good); } .bad { color: var(--bad); }
.pill { border: 1px solid currentColor; border-radius: 1rem; padding: 0 .6rem; font-weight: 600; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(8rem, 1fr)); gap: .75rem; margin-top: 1.25rem; }
.tile { background: var(--soft); border-radius: .5rem; padding: .6rem .9rem; }
.tile b { display: block; font-size: 1.5rem; font-variant-numeric: tabular-nums; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; } th { text-align: left; font-weight: 600; }
th, td { border-bottom: 1px solid var(--line); padding: .35rem .8rem .35rem 0; white-space: nowrap; }
form { margin: 2rem 0; } input, button { font: inherit; padding: .35rem .6rem; }
[hidden] { display: none !important; }
`;

const SCRIPT = `
'use strict';
const at = (id) => document.getElementById(id);
let token = '';
const cell = (text, tone) => {
  const td = document.createElement('td');
  td.textContent = text === null ? '\\u2013' : String(text);
  if (tone) td.className = tone;
  return td;
};
const rows = (id, list, none, cells) => {
  const made = list.map((item) => { const tr = document.createElement('tr'); tr.append(...cells(item)); return tr; });
  if (made.length === 0) { const tr = document.createElement('tr'); const td = cell(none, 'muted'); td.colSpan = 6; tr.append(td); made.push(tr); }
  at(id).replaceChildren(...made);
};
const ago = (iso) => {
  const s = Math.max(0, Math.round((Date.now() - Date.parse(iso)) / 1000));
  return s < 90 ? s + ' s' : s < 5400 ? Math.round(s / 60) + ' min' : s < 129600 ? Math.round(s / 3600) + ' h' : Math.round(s / 86400) + ' days';
};
const tiles = (list) => at('tiles').replaceChildren(...list.map(([label, value]) => {
  const div = document.createElement('div'); div.className = 'tile';
  const b = document.createElement('b'); b.textContent = value.toLocaleString('en');
  div.append(b, label); return div;
}));
const state = (text, tone) => { at('state').textContent = text; at('state').className = 'pill ' + tone; };
function show(s) {
  at('who').textContent = s.name + ' \\u00b7 site ' + s.site + ' \\u00b7 version ' + s.version + ' \\u00b7 up for ' + ago(s.started_at);
  state(s.ready ? 'ready' : 'not ready', s.ready ? 'good' : 'bad');
  at('reasons').textContent = s.reasons.join('\\n');
  const o = s.outbox;
  tiles([['held', o.held], ['in session', s.sessions], ['devices', o.devices], ['cleared', o.ended.cleared],
    ['superseded', o.ended.superseded], ['expired', o.ended.expired], ['cancelled', o.ended.cancelled], ['dead', o.ended.dead]]);
  rows('proxies', s.proxies, 'None configured.', (p) => [cell(p.url), cell(p.state, p.state === 'up' ? 'good' : 'bad'), cell(ago(p.since)),
    cell(p.round_trip_ms === null ? null : p.round_trip_ms.toFixed(1) + ' ms'), cell(p.lag), cell(p.why)]);
  rows('services', s.services, 'None configured.', (v) => [cell(v.name), cell(v.kind), cell(v.up ? 'up' : 'down', v.up ? 'good' : 'bad'),
    cell(ago(v.since)), cell(v.connections), cell(v.why)]);
}
async function refresh() {
  try {
    const answer = await fetch('v1/status', { headers: token === '' ? {} : { authorization: 'Bearer ' + token }, cache: 'no-store' });
    at('login').hidden = answer.status !== 401;
    at('all').hidden = answer.status === 401;
    if (answer.ok) show(await answer.json());
    else state(answer.status === 401 ? 'token needed' : 'failed: ' + answer.status, 'bad');
  } catch { state('relay does not answer', 'bad'); }
}
at('login').addEventListener('submit', (event) => { event.preventDefault(); token = at('token').value.trim(); at('token').value = ''; refresh(); });
refresh();
setInterval(refresh, 2000);
`;

const BODY = `
<header><h1>Sallyport relay</h1><span id="state" class="pill" role="status">…</span><span id="who" class="muted"></span></header>
<p id="reasons" class="bad"></p>
<form id="login" hidden><label>Token <input id="token" type="password" autocomplete="off" required></label> <button>Show</button></form>
<main id="all">
<div id="tiles" class="tiles"></div>
<h2>Proxies</h2><div class="scroll"><table><thead><tr><th>Address<th>Link<th>For<th>Round trip<th>Lag<th>Why</tr></thead><tbody id="proxies"></tbody></table></div>
<h2>Services</h2><div class="scroll"><table><thead><tr><th>Name<th>Kind<th>State<th>For<th>Connections<th>Why</tr></thead><tbody id="services"></tbody></table></div>
<p class="muted"><a href="openapi.json">API description</a></p>
</main>
`;

export interface Page {
  html: string;
  /** Only its own style and script run, and it may ask only its own origin. */
  policy: string;
}

export function statusPage(): Page {
  const html =
    '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">' +
    `<title>Sallyport relay</title><style>${STYLE}</style></head><body>${BODY}<script>${SCRIPT}</script></body></html>\n`;
  const policy = [
    "default-src 'none'",
    `style-src ${hashSource(STYLE)}`,
    `script-src ${hashSource(SCRIPT)}`,
    "connect-src 'self'",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
  ].join('; ');
  return { html, policy };
}

function hashSource(text: string): string {
  return `'sha256-${createHash('sha256').update(text).digest('base64')}'`;
}
