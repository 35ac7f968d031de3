import { route } from './router.ts';
import { Signal } from './signal.ts';
import type { Session } from './types.ts';

/** An answer that is not the one asked for, with the server's own sentence. */
export class ApiError extends Error {
  status: number;
  kind: string;
  constructor(status: number, kind: string, message: string) {
    super(message);
    this.status = status;
    this.kind = kind;
  }
}

export const session = new Signal<Session | null>(null);

/** Set when a request came back 401: the login screen takes over. */
export const signedOut = new Signal(false);

/** Whether the caller may change things; a reader is not shown buttons that would be refused. */
export function mayWrite(): boolean {
  return session.value?.role !== 'read';
}

export function tenantHeader(): Record<string, string> {
  const t = route.value.params.get('tenant');
  return t ? { 'X-Vedette-Tenant': t } : {};
}

/** One request with tenant and CSRF token; throws ApiError with a sentence. */
export async function request(path: string, init: RequestInit = {}): Promise<Response> {
  const headers = new Headers(init.headers);
  for (const [k, v] of Object.entries(tenantHeader())) headers.set(k, v);
  if (init.method && init.method !== 'GET' && session.value?.csrf) headers.set('X-Vedette-CSRF', session.value.csrf);
  let res: Response;
  try {
    res = await fetch(path, { ...init, headers, credentials: 'same-origin' });
  } catch (e) {
    if ((e as Error).name === 'AbortError') throw e;
    throw new ApiError(0, 'unavailable', 'Vedette does not answer. Is the process running, and can this browser reach it?');
  }
  if (res.ok) return res;
  if (res.status === 401 && !path.endsWith('/login')) signedOut.value = true;
  throw new ApiError(res.status, ...(await reason(res)));
}

async function reason(res: Response): Promise<[string, string]> {
  const text = await res.text().catch(() => '');
  try {
    const j = JSON.parse(text);
    if (typeof j === 'string') return ['invalid', j]; // Alertmanager's API answers a bare string
    return [j.kind ?? j.errorType ?? '', j.error ?? j.message ?? `the server answered ${res.status}`];
  } catch {
    return ['', text.trim().slice(0, 300) || `the server answered ${res.status} ${res.statusText}`];
  }
}

export async function getJSON<T>(path: string, signal?: AbortSignal): Promise<T> {
  const res = await request(path, { signal });
  try {
    return (await res.json()) as T;
  } catch (e) {
    if ((e as Error).name === 'AbortError') throw e;
    throw new ApiError(res.status, 'internal', `${path.split('?')[0]} answered something that is not JSON`);
  }
}

export async function send(method: string, path: string, body?: unknown): Promise<unknown> {
  const res = await request(path, {
    method,
    headers: body === undefined ? {} : { 'Content-Type': 'application/json' },
    body: body === undefined ? undefined : JSON.stringify(body),
  });
  const text = await res.text();
  return text ? JSON.parse(text) : null;
}

/** A Prometheus API call: data and the warnings that came with it. */
export async function prom<T>(path: string, params: Record<string, string | string[]>, signal?: AbortSignal): Promise<{ data: T; warnings: string[]; infos: string[] }> {
  const q = new URLSearchParams();
  for (const [k, v] of Object.entries(params)) for (const x of Array.isArray(v) ? v : [v]) q.append(k, x);
  const post = q.toString().length > 1500;
  const r = await request(`/api/v1/${path}${post || !q.toString() ? '' : '?' + q}`, post ? { method: 'POST', body: q, signal } : { signal });
  const j = (await r.json()) as { data: T; warnings?: string[]; infos?: string[] };
  return { data: j.data, warnings: j.warnings ?? [], infos: j.infos ?? [] };
}

/** What went wrong as one sentence with a full stop. */
export function sentence(e: unknown): string {
  const m = e instanceof Error ? e.message : String(e);
  const s = m.charAt(0).toUpperCase() + m.slice(1);
  return /[.!?]$/.test(s) ? s : s + '.';
}
