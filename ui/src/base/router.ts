import { Signal } from './signal.ts';

/** Where the person is: all of it stands in the address after the hash. */
export interface Route {
  path: string[];
  params: URLSearchParams;
}

/** Parameters that every link takes along. */
export const carried = ['tenant', 'range', 'from', 'to', 'tz', 'live'];

export function parseHash(hash: string): Route {
  const s = hash.replace(/^#\/?/, '');
  const cut = s.indexOf('?');
  const path = (cut < 0 ? s : s.slice(0, cut)).split('/').filter(Boolean).map(safeDecode);
  return { path, params: new URLSearchParams(cut < 0 ? '' : s.slice(cut + 1)) };
}

function safeDecode(s: string): string {
  try {
    return decodeURIComponent(s);
  } catch {
    return s;
  }
}

export type Params = Record<string, string | string[] | undefined | null>;

export function buildHash(path: string[], params: URLSearchParams): string {
  const q = params.toString().replace(/%3A/g, ':').replace(/%2C/g, ',').replace(/%2F/g, '/');
  return '#/' + path.map(encodeURIComponent).join('/') + (q ? '?' + q : '');
}

const inPage = typeof location !== 'undefined';

export const route = new Signal<Route>(parseHash(inPage ? location.hash : ''));

if (inPage) {
  addEventListener('hashchange', () => {
    route.value = parseHash(location.hash);
  });
}

/** A link to a screen that keeps tenant, range and zone. */
export function href(path: string[], params: Params = {}): string {
  const out = new URLSearchParams();
  for (const k of carried) {
    const v = route.value.params.get(k);
    if (v !== null) out.set(k, v);
  }
  apply(out, params);
  return buildHash(path, out);
}

/** A link that the server gave, with what every link carries. Foreign schemes are refused. */
export function carry(link: string | undefined): string | undefined {
  if (!link) return undefined;
  if (link.startsWith('#')) {
    const r = parseHash(link);
    for (const k of carried) {
      const v = route.value.params.get(k);
      if (v !== null && !r.params.has(k)) r.params.set(k, v);
    }
    return buildHash(r.path, r.params);
  }
  return /^https?:\/\//i.test(link) ? link : undefined;
}

function apply(q: URLSearchParams, params: Params) {
  for (const [k, v] of Object.entries(params)) {
    if (v === undefined || v === null || v === '') q.delete(k);
    else if (Array.isArray(v)) {
      q.delete(k);
      for (const x of v) q.append(k, x);
    } else q.set(k, v);
  }
}

/** The present address with some parameters changed. */
export function withParams(params: Params): string {
  const q = new URLSearchParams(route.value.params);
  apply(q, params);
  return buildHash(route.value.path, q);
}

/** Changes parameters of the present screen; replace leaves no step for Back. */
export function setParams(params: Params, replace = false) {
  go(withParams(params), replace);
}

export function go(hash: string, replace = false) {
  if (hash === location.hash) return;
  if (replace) {
    history.replaceState(history.state, '', hash);
    route.value = parseHash(hash);
  } else location.hash = hash;
}

export function param(name: string): string {
  return route.value.params.get(name) ?? '';
}
