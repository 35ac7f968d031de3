import { request } from './api.ts';
import { route } from './router.ts';
import { Signal } from './signal.ts';

/** How news comes in. since is when it last did, retryAt when the next try is due. */
export interface LiveState {
  mode: 'connecting' | 'live' | 'polling' | 'stale' | 'paused';
  since: number;
  retryAt: number;
}

export const live = new Signal<LiveState>({ mode: 'connecting', since: Date.now(), retryAt: 0 });

type Listener = (topics: string[]) => void;
const listeners = new Set<Listener>();

/** All topics, sent after a break when anything may have changed. */
const everything = ['now', 'checks', 'alerts', 'outbox', 'itself', 'config'];

export function onChange(f: Listener): () => void {
  listeners.add(f);
  return () => {
    listeners.delete(f);
  };
}

function tell(topics: string[]) {
  for (const f of [...listeners]) f(topics);
}

/** Asks every visible part to load again. */
export function refreshAll() {
  tell([...everything, 'user']);
}

const pollEvery = 10_000;
let abort: AbortController | null = null;
let timer: ReturnType<typeof setTimeout> | undefined;
let poller: ReturnType<typeof setInterval> | undefined;
let failures = 0;
let tenant = '';
let wanted = false;

export function paused(): boolean {
  return route.value.params.get('live') === '0';
}

function set(mode: LiveState['mode'], since = live.value.since, retryAt = 0) {
  const v = live.value;
  if (v.mode !== mode || v.since !== since || v.retryAt !== retryAt) live.value = { mode, since, retryAt };
}

function stop() {
  abort?.abort();
  abort = null;
  clearTimeout(timer);
  clearInterval(poller);
  poller = undefined;
}

/** Starts, or starts again after hiding, pausing or a change of tenant. */
function check() {
  const should = wanted && !document.hidden && !paused();
  const t = route.value.params.get('tenant') ?? '';
  if (!should) {
    if (abort || poller) stop();
    if (paused()) set('paused');
    return;
  }
  if (abort && t === tenant) return;
  stop();
  tenant = t;
  failures = 0;
  void connect();
}

async function connect() {
  const a = new AbortController();
  abort = a;
  if (live.value.mode === 'paused') set('connecting');
  try {
    const res = await request('/api/v1/live', { signal: a.signal, headers: { Accept: 'text/event-stream' } });
    if (!res.body) throw new Error('no body');
    clearInterval(poller);
    poller = undefined;
    if (failures > 0 || live.value.mode !== 'connecting') tell(everything);
    failures = 0;
    set('live', Date.now());
    await read(res.body.getReader(), a);
    throw new Error('the stream ended');
  } catch {
    if (a.signal.aborted) return;
    failures++;
    const wait = Math.min(30_000, 500 * 2 ** failures) * (0.75 + Math.random() / 2);
    if (live.value.mode !== 'polling') set(failures === 1 ? live.value.mode : 'stale', live.value.since, Date.now() + wait);
    if (failures >= 2 && !poller) {
      poller = setInterval(() => {
        tell(everything);
      }, pollEvery);
    }
    timer = setTimeout(() => void connect(), wait);
  }
}

async function read(reader: ReadableStreamDefaultReader<Uint8Array>, a: AbortController) {
  const dec = new TextDecoder();
  let rest = '';
  // The server sends a heartbeat each 15 s; three missed ones are a dead line.
  let watchdog: ReturnType<typeof setTimeout> | undefined;
  try {
    for (;;) {
      clearTimeout(watchdog);
      watchdog = setTimeout(() => void reader.cancel(), 50_000);
      const { value, done } = await reader.read();
      if (done || a.signal.aborted) return;
      rest += dec.decode(value, { stream: true }).replace(/\r\n/g, '\n');
      lastNews();
      let cut: number;
      while ((cut = rest.indexOf('\n\n')) >= 0) {
        event(rest.slice(0, cut));
        rest = rest.slice(cut + 2);
      }
    }
  } finally {
    clearTimeout(watchdog);
  }
}

function event(block: string) {
  const data = block
    .split('\n')
    .filter((l) => l.startsWith('data:'))
    .map((l) => l.slice(5).trim())
    .join('\n');
  if (!data) return;
  try {
    const topics = JSON.parse(data).topics;
    if (Array.isArray(topics)) tell(topics);
  } catch {
    // A malformed event carries no topic; the next one will.
  }
}

function lastNews() {
  // The time is kept without telling subscribers: it is read only when stale.
  live.value.since = Date.now();
}

/** A request got through: when the stream is down, polling keeps the screen true. */
export function heard() {
  if (live.value.mode === 'stale') set('polling', Date.now());
  else if (live.value.mode === 'polling') live.value.since = Date.now();
}

/** A request got no answer at all. */
export function unheard() {
  if (live.value.mode === 'polling') set('stale', live.value.since, live.value.retryAt);
}

export function retryNow() {
  stop();
  failures = 0;
  void connect();
  tell(everything);
}

export function startLive() {
  if (wanted) return;
  wanted = true;
  document.addEventListener('visibilitychange', () => {
    if (!document.hidden && !paused()) {
      const away = Date.now() - live.value.since > 2000;
      check();
      if (away) tell(everything);
    } else check();
  });
  route.subscribe(check);
  check();
}
