import type { AmAlert, PromRule, RuleGroup, Severity, State } from '../base/types.ts';
import { severityOf } from '../ui/marks.tsx';

export type AlertState = 'firing' | 'pending' | 'silenced' | 'inhibited' | 'muted';

/** One alert as the judging and the telling room both know it. */
export interface Alert {
  key: string;
  name: string;
  state: AlertState;
  severity: Severity | 'note';
  labels: Record<string, string>;
  annotations: Record<string, string>;
  since: string;
  value: string;
  receivers: string[];
  silencedBy: string[];
  inhibitedBy: string[];
  rule?: PromRule;
  group?: string;
  file?: string;
  generator?: string;
}

export function labelKey(l: Record<string, string>): string {
  return JSON.stringify(Object.keys(l).sort().map((k) => [k, l[k]]));
}

const stateRank: Record<AlertState, number> = { firing: 0, pending: 1, silenced: 2, muted: 3, inhibited: 4 };
const sevRank = { page: 0, warning: 1, unknown: 2, note: 3 };

/**
 * Joins the alerts of the rules with those of the Alertmanager API: the first
 * knows pending ones, values and expressions, the second silences, inhibition
 * and alerts that others sent.
 */
export function joinAlerts(groups: RuleGroup[], am: AmAlert[]): Alert[] {
  const out = new Map<string, Alert>();
  for (const g of groups) {
    for (const rule of g.rules) {
      for (const a of rule.alerts ?? []) {
        if (a.state === 'inactive') continue;
        const key = labelKey(a.labels);
        out.set(key, {
          key,
          name: a.labels.alertname ?? rule.name,
          state: a.state === 'pending' ? 'pending' : 'firing',
          severity: severityOf(a.labels),
          labels: a.labels,
          annotations: a.annotations ?? {},
          since: a.activeAt,
          value: a.value,
          receivers: [],
          silencedBy: [],
          inhibitedBy: [],
          rule,
          group: g.name,
          file: g.file,
        });
      }
    }
  }
  for (const a of am) {
    // External labels may have been added on the way: try the exact set, then the name and a superset.
    const key = labelKey(a.labels);
    const own = out.get(key) ?? [...out.values()].find((x) => x.name === a.labels.alertname && Object.entries(x.labels).every(([k, v]) => a.labels[k] === v));
    const silencedBy = a.status.silencedBy ?? [];
    const inhibitedBy = a.status.inhibitedBy ?? [];
    const muted = a.status.mutedBy ?? [];
    const state: AlertState = silencedBy.length ? 'silenced' : inhibitedBy.length ? 'inhibited' : muted.length ? 'muted' : 'firing';
    const receivers = (a.receivers ?? []).map((r) => r.name);
    if (own) {
      if (own.state !== 'pending') own.state = state;
      Object.assign(own, { receivers, silencedBy, inhibitedBy, generator: a.generatorURL });
    } else {
      out.set(key, {
        key,
        name: a.labels.alertname ?? 'without a name',
        state,
        severity: severityOf(a.labels),
        labels: a.labels,
        annotations: a.annotations ?? {},
        since: a.startsAt,
        value: '',
        receivers,
        silencedBy,
        inhibitedBy,
        generator: a.generatorURL,
      });
    }
  }
  return [...out.values()].sort((a, b) => stateRank[a.state] - stateRank[b.state] || sevRank[a.severity] - sevRank[b.severity] || Date.parse(b.since) - Date.parse(a.since) || a.key.localeCompare(b.key));
}

/** The sign an alert carries: only a firing one is a breach. */
export function signOf(a: Alert): State | 'pending' | 'silenced' {
  if (a.state === 'pending') return 'pending';
  if (a.state !== 'firing') return 'silenced';
  return a.severity === 'note' ? 'ok' : a.severity;
}

/** The screen's first sentence. */
export function alertSentence(all: Alert[]): { text: string; state: State } {
  const firing = all.filter((a) => a.state === 'firing');
  const pending = all.filter((a) => a.state === 'pending').length;
  const quiet = all.length - firing.length - pending;
  const tail = [pending ? `${pending} pending` : '', quiet ? `${quiet} silenced or inhibited` : ''].filter(Boolean).join(', ');
  if (!firing.length) return { text: tail ? `Nothing fires; ${tail}.` : 'Nothing fires.', state: 'ok' };
  const names = [...new Set(firing.map((a) => a.name))];
  const state: State = firing.some((a) => a.severity === 'page') ? 'page' : firing.some((a) => a.severity === 'warning') ? 'warning' : 'ok';
  const list = names.slice(0, 3).join(', ') + (names.length > 3 ? ` and ${names.length - 3} more` : '');
  return { text: `${firing.length} ${firing.length === 1 ? 'alert fires' : 'alerts fire'}: ${list}${tail ? `; ${tail}` : ''}.`, state };
}

/** One matcher as people write it: a="b", a!~"b". */
export function matcherText(m: { name: string; value: string; isRegex: boolean; isEqual?: boolean }): string {
  const eq = m.isEqual !== false;
  return `${m.name}${m.isRegex ? (eq ? '=~' : '!~') : eq ? '=' : '!='}${JSON.stringify(m.value)}`;
}

/** Reads what matcherText wrote; null when it is no matcher. */
export function parseMatcher(s: string): { name: string; value: string; isRegex: boolean; isEqual: boolean } | null {
  const m = /^\s*([^\s=!~"]+)\s*(=~|!~|!=|=)\s*(.*?)\s*$/.exec(s);
  if (!m) return null;
  let value = m[3]!;
  if (value.startsWith('"')) {
    try {
      value = JSON.parse(value);
    } catch {
      return null;
    }
  }
  return { name: m[1]!, value, isRegex: m[2]!.endsWith('~'), isEqual: m[2] === '=' || m[2] === '=~' };
}
