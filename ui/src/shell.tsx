import type { ComponentType } from 'preact';
import { useEffect, useState } from 'preact/hooks';
import { getJSON, send, session, signedOut } from './base/api.ts';
import { useKeys } from './base/keys.ts';
import { live, refreshAll, startLive } from './base/live.ts';
import { go, href, route, setParams } from './base/router.ts';
import { Signal, useSignal } from './base/signal.ts';
import type { Session } from './base/types.ts';
import { LiveLine, TimeBar, shiftRange, timeOpen } from './timebar.tsx';
import { announce } from './ui/announce.ts';
import { Dialog, Problem, Waiting, copyText } from './ui/parts.tsx';

interface Screen {
  id: string;
  name: string;
  key: string;
  load: () => Promise<{ default: ComponentType }>;
  /** The screen shows the present; the range is for the others. */
  present?: boolean;
}

export const screens: Screen[] = [
  { id: 'now', name: 'Now', key: 'n', load: () => import('./screens/now.tsx'), present: true },
  { id: 'signals', name: 'Signals', key: 's', load: () => import('./screens/signals.tsx') },
  { id: 'checks', name: 'Checks', key: 'c', load: () => import('./screens/checks.tsx') },
  { id: 'alerts', name: 'Alerts', key: 'a', load: () => import('./screens/alerts.tsx'), present: true },
  { id: 'explore', name: 'Explore', key: 'e', load: () => import('./screens/explore.tsx') },
  { id: 'cardinality', name: 'Cardinality', key: 'k', load: () => import('./screens/cardinality.tsx'), present: true },
  { id: 'itself', name: 'Itself', key: 'x', load: () => import('./screens/itself.tsx'), present: true },
];

const login: Screen = { id: 'login', name: 'Sign in', key: '', load: () => import('./screens/login.tsx'), present: true };

const loaded = new Map<string, ComponentType>();

/** Loads a screen's file once; the rest of the page stays while it comes. */
function Lazy({ screen }: { screen: Screen }) {
  const [, again] = useState(0);
  const [error, setError] = useState<unknown>(null);
  const C = loaded.get(screen.id);
  useEffect(() => {
    let gone = false;
    setError(null);
    if (!loaded.has(screen.id)) {
      screen
        .load()
        .then((m) => loaded.set(screen.id, m.default))
        .then(() => !gone && again((n) => n + 1))
        .catch((e) => !gone && setError(e));
    }
    return () => {
      gone = true;
    };
  }, [screen.id]);
  if (error) return <Problem what={`The ${screen.name} screen could not be loaded.`} error="The server may have been replaced or stopped" reload={() => location.reload()} />;
  return C ? <C /> : <Waiting what={screen.name} />;
}

export type Theme = 'auto' | 'light' | 'dark';

function storedTheme(): Theme {
  try {
    const t = localStorage.getItem('vedette.theme');
    return t === 'light' || t === 'dark' ? t : 'auto';
  } catch {
    return 'auto';
  }
}

export const theme = new Signal<Theme>(storedTheme());

function showTheme() {
  if (theme.value === 'auto') delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme.value;
  try {
    if (theme.value === 'auto') localStorage.removeItem('vedette.theme');
    else localStorage.setItem('vedette.theme', theme.value);
  } catch {
    // Storage may be refused; the choice then lasts as long as the page.
  }
}
showTheme();
theme.subscribe(showTheme);

const paletteOpen = new Signal(false);
const helpOpen = new Signal(false);

async function loadSession() {
  session.value = await getJSON<Session>('/api/v1/session');
  signedOut.value = session.value.auth && !session.value.signed_in;
}

export function App() {
  const r = useSignal(route);
  const s = useSignal(session);
  const out = useSignal(signedOut);
  const palette = useSignal(paletteOpen);
  const help = useSignal(helpOpen);
  const [failed, setFailed] = useState<unknown>(null);

  useEffect(() => {
    if (!location.hash) go(href(['now']), true);
    loadSession().catch((e) => setFailed(e));
  }, []);
  useEffect(() => {
    if (s && !out) startLive();
  }, [s, out]);
  useEffect(() => {
    const at = route.value.path[0];
    if (out && at !== 'login') {
      go(href(['login'], { then: location.hash.startsWith('#/login') ? '' : location.hash }), true);
    } else if (s && !out && at === 'login') {
      const then = route.value.params.get('then') ?? '';
      go(then.startsWith('#/') ? then : href(['now']), true);
      refreshAll();
    }
  }, [out, s, r]);

  const at = screens.find((x) => x.id === (r.path[0] || 'now'));
  useEffect(() => {
    document.title = at ? `${at.name} · Vedette` : 'Vedette';
  }, [at]);

  useKeys({
    'Ctrl-K': () => {
      if (!out) paletteOpen.value = !paletteOpen.value;
    },
    '/': () => {
      paletteOpen.value = true;
    },
    '?': () => {
      helpOpen.value = true;
    },
    d: () => {
      timeOpen.value = true;
    },
    '[': () => shiftRange(-1),
    ']': () => shiftRange(1),
    r: () => {
      refreshAll();
      announce('Refreshing');
    },
    c: () => void copyLink(),
    ...Object.fromEntries(screens.map((x) => ['g ' + x.key, () => go(href([x.id]))])),
  });

  if (out) return <Lazy screen={login} />;
  if (failed && !s) {
    return (
      <div class="alone">
        <Problem
          what="Vedette cannot be reached."
          error={failed}
          reload={() => {
            setFailed(null);
            loadSession().catch((e) => setFailed(e));
          }}
        />
      </div>
    );
  }
  if (!s) return <Waiting what="Vedette" />;
  return (
    <>
      <a class="skip" href="#main" onClick={(e) => {
        e.preventDefault();
        document.getElementById('main')?.focus();
      }}>
        Skip to content
      </a>
      <Rail at={at?.id ?? ''} />
      <div class="page">
        <TopBar present={!!at?.present} />
        <LiveLine />
        <main id="main" tabIndex={-1}>
          {at ? <Lazy screen={at} /> : <Lost />}
        </main>
      </div>
      <div id="say" class="sr" aria-live="polite" />
      <Toast />
      {palette && <LazyPalette close={() => (paletteOpen.value = false)} />}
      {help && <Help close={() => (helpOpen.value = false)} />}
    </>
  );
}

const toast = new Signal('');

async function copyLink() {
  const ok = await copyText(location.href);
  toast.value = ok ? 'Link copied' : 'The link is in the address bar; this browser refused the clipboard';
  announce(toast.value);
  setTimeout(() => (toast.value = ''), 1800);
}

function Toast() {
  const t = useSignal(toast);
  return t ? <div class="toast">{t}</div> : null;
}

function LazyPalette({ close }: { close: () => void }) {
  const [C, set] = useState<{ C: ComponentType<{ close: () => void }> } | null>(null);
  useEffect(() => {
    import('./palette.tsx').then((m) => set({ C: m.Palette }), close);
  }, []);
  return C ? <C.C close={close} /> : null;
}

function Lost() {
  return (
    <>
      <h1 class="sentence">There is no screen at this address.</h1>
      <p>
        <a href={href(['now'])}>Go to Now</a>
      </p>
    </>
  );
}

function Rail({ at }: { at: string }) {
  useSignal(route);
  const l = useSignal(live);
  return (
    <nav class="rail" aria-label="Screens">
      <a class="brand" href={href(['now'])} aria-label="Vedette, Now">
        <svg width="16" height="16" viewBox="0 0 16 16" aria-hidden="true">
          <path d="M1 3l7 11 7-11h-3.400L8 9 4.4 3z" fill="currentColor" />
        </svg>
        <span>Vedette</span>
      </a>
      {screens.map((s) => (
        <a key={s.id} href={href([s.id])} aria-current={s.id === at ? 'page' : undefined} title={`${s.name} (g ${s.key})`}>
          <span class="name">{s.name}</span>
          <kbd>g {s.key}</kbd>
        </a>
      ))}
      <span class="rail-end">
        <button class="quiet" onClick={() => (helpOpen.value = true)} title="Keys (?)">
          <span class="name">Keys</span>
          <kbd>?</kbd>
        </button>
        <span class="version">
          {session.value?.version ? `v${session.value.version.replace(/^v/, '')}` : ''}
          <span class="sr"> {l.mode}</span>
        </span>
      </span>
    </nav>
  );
}

function TopBar({ present }: { present: boolean }) {
  const s = useSignal(session)!;
  const r = useSignal(route);
  const t = useSignal(theme);
  const tenants = s.tenants ?? [];
  return (
    <header class="top">
      <button class="search" onClick={() => (paletteOpen.value = true)} title="Search (/ or Ctrl-K)">
        <span>Search</span>
        <kbd>/</kbd>
      </button>
      <TimeBar present={present} />
      <span class="top-end">
        {tenants.length > 1 && (
          <label class="field">
            <span class="soft">Tenant</span>
            <select
              value={r.params.get('tenant') || s.tenant}
              onChange={(e) => {
                setParams({ tenant: e.currentTarget.value === s.tenant ? '' : e.currentTarget.value });
                setTimeout(refreshAll);
              }}
            >
              {tenants.map((x) => (
                <option key={x} value={x}>
                  {x}
                </option>
              ))}
            </select>
          </label>
        )}
        <label class="field" title="Colours: as the system, light, or dark">
          <span class="sr">Colours</span>
          <select value={t} onChange={(e) => (theme.value = e.currentTarget.value as Theme)}>
            <option value="auto">Auto</option>
            <option value="light">Light</option>
            <option value="dark">Dark</option>
          </select>
        </label>
        {s.auth && (
          <button
            class="small"
            title={s.user ? `Signed in as ${s.user} (${s.role})` : `Role ${s.role}`}
            onClick={async () => {
              await send('POST', '/api/v1/logout').catch(() => undefined);
              session.value = { ...s, signed_in: false, user: '', csrf: '' };
              signedOut.value = true;
            }}
          >
            Sign out{s.user ? ` ${s.user}` : ''}
          </button>
        )}
      </span>
    </header>
  );
}

const keyList: [string, string][] = [
  ['/ or Ctrl-K', 'search screens, checks, alerts, services and metrics'],
  ...screens.map((s): [string, string] => ['g ' + s.key, s.name]),
  ['j, k', 'next, previous row'],
  ['Enter', 'open the row'],
  ['Esc', 'close what is open'],
  ['t', 'chart or its table'],
  ['d', 'choose the time range'],
  ['[, ]', 'earlier, later'],
  ['p', 'pause or go on'],
  ['r', 'load again and sort again'],
  ['c', 'copy the link to this view'],
  ['← →', 'move along a focused chart'],
  ['n', 'new check, or new maintenance window, on Checks'],
  ['w, e', 'run now, edit, on one check'],
  ['?', 'this list'],
];

function Help({ close }: { close: () => void }) {
  return (
    <Dialog title="Keys" close={close}>
      <table class="keys">
        <tbody>
          {keyList.map(([k, what]) => (
            <tr key={k}>
              <th scope="row">
                <kbd>{k}</kbd>
              </th>
              <td>{what}</td>
            </tr>
          ))}
        </tbody>
      </table>
      <p class="soft">Letters rest while you type. Every key is also a button or a link.</p>
    </Dialog>
  );
}
