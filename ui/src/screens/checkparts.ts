import { send } from '../base/api.ts';
import { age, seconds } from '../base/format.ts';
import { when, zoneName } from '../base/time.ts';
import type { Check, Run } from '../base/types.ts';

/** Days until the first certificate of the last hop with TLS ends; null without one. */
export function certDays(run: Run | null | undefined, now = Date.now()): number | null {
  for (const h of [...(run?.hops ?? [])].reverse()) {
    if (h.tls?.not_after) {
      const t = Date.parse(h.tls.not_after);
      if (t > 0) return (t - now) / 86_400_000;
    }
  }
  return null;
}

export function sinceWords(c: Check): string {
  const t = Date.parse(c.since);
  if (!(t > 0)) return '';
  return `since ${when(t)} ${zoneName(t)}`;
}

/** Runs a check and says how it went. */
export async function runNow(c: Check): Promise<string> {
  const r = (await send('POST', `/api/v1/checks/${encodeURIComponent(c.id)}/run`)) as Run;
  return r.success ? `${c.name}: ok in ${seconds(r.duration_seconds)}.` : `${c.name} failed at ${r.stage || 'an unknown stage'}${r.message ? `: ${r.message}` : ''}.`;
}

/** "down for 12 min after 31 failed runs" */
export function stateWords(c: Check, now = Date.now()): string {
  const t = Date.parse(c.since);
  const long = t > 0 ? ` for ${age((now - t) / 1000)}` : '';
  if (c.state === 'up') return `${c.name} is up${long}.`;
  if (c.state === 'unknown') return `${c.name} has not told anything yet.`;
  const why = c.last?.message ? `: ${c.last.message.replace(/\.$/, '')}` : '';
  return `${c.name} is down${long}, failing at ${c.last?.stage || 'an unknown stage'}${why}.`;
}
