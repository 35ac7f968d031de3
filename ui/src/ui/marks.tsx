import type { ComponentChildren } from 'preact';
import { useSignal } from '../base/signal.ts';
import { age } from '../base/format.ts';
import { clock, stamp, when, whenMinute, zoneName } from '../base/time.ts';
import type { Severity } from '../base/types.ts';

const words: Record<string, string> = { page: 'page', warning: 'warning', unknown: 'unknown', ok: 'ok' };

/** The sign of a breach: a shape, a colour and a word. Nothing for what is well. */
export function Mark({ state, word, quiet }: { state: string; word?: string; quiet?: boolean }) {
  const text = word ?? words[state] ?? state;
  return (
    <span class={`mark is-${state}`}>
      <Shape state={state} />
      {quiet ? <span class="sr">{text}</span> : <span>{text}</span>}
    </span>
  );
}

const filled: Record<string, string> = { page: 'M5 .6 9.7 9.2H.3z', warning: 'M5 .2 9.8 5 5 9.8.2 5z', paused: 'M2.4 1.5h1.9v7H2.4zM5.7 1.5h1.9v7H5.7z' };
const drawn: Record<string, string> = { pending: 'M5 1.2 8.8 5 5 8.8 1.2 5z', silenced: 'M1.5 5h7', flapping: 'M.8 7 3.4 3 6 7 8.6 3', maintenance: 'M1.8 1.8h6.4v6.4H1.8zM1.8 8.2 8.2 1.8' };

/** ▲ page, ◆ warning, ○ unknown and the signs of calmer states, drawn so that no font can change them. */
export function Shape({ state }: { state: string }) {
  return (
    <svg class="shape" width="10" height="10" viewBox="0 0 10 10" aria-hidden="true">
      {filled[state] ? (
        <path d={filled[state]} fill="currentColor" />
      ) : drawn[state] ? (
        <path d={drawn[state]} fill="none" stroke="currentColor" stroke-width={state === 'silenced' || state === 'flapping' ? 1.6 : 1.3} />
      ) : state === 'unknown' ? (
        <circle cx="5" cy="5" r="3.7" fill="none" stroke="currentColor" stroke-width="1.7" />
      ) : state === 'up' ? (
        <circle cx="5" cy="5" r="1.7" fill="currentColor" />
      ) : null}
    </svg>
  );
}

/** Severity of an alert by its label, as rules usually name it. */
export function severityOf(labels: Record<string, string>): Severity | 'note' {
  const s = (labels.severity ?? labels.priority ?? '').toLowerCase();
  if (/^(page|critical|crit|high|p1|p0|emergency|error|fatal|disaster)$/.test(s)) return 'page';
  if (/^(info|none|note|debug|low|notice)$/.test(s)) return 'note';
  return 'warning';
}

/** How long ago, kept true by the clock; the exact time is in the title. */
export function Ago({ t, suffix = '' }: { t: string | number | null | undefined; suffix?: string }) {
  const now = useSignal(clock);
  if (t === null || t === undefined) return <span class="faint">–</span>;
  const ms = typeof t === 'number' ? t * 1000 : Date.parse(t);
  if (!(ms > 0)) return <span class="faint">–</span>;
  return (
    <time dateTime={new Date(ms).toISOString()} title={`${stamp(ms)} ${zoneName(ms)}`}>
      {age(Math.max(0, (Math.max(now, Date.now()) - ms) / 1000))}
      {suffix}
    </time>
  );
}

/** A time of day, with the date when it is not today; the zone stands in the title and in the column's head. */
export function At({ t, zone, minute }: { t: string | number | null | undefined; zone?: boolean; minute?: boolean }) {
  if (t === null || t === undefined) return <span class="faint">–</span>;
  const ms = typeof t === 'number' ? t * 1000 : Date.parse(t);
  if (!(ms > 0)) return <span class="faint">–</span>;
  return (
    <time dateTime={new Date(ms).toISOString()} title={`${stamp(ms)} ${zoneName(ms)}`}>
      {minute ? whenMinute(ms) : when(ms)}
      {zone ? ' ' + zoneName(ms) : ''}
    </time>
  );
}

export function Labels({ of, skip = [] }: { of: Record<string, string> | null | undefined; skip?: string[] }) {
  const keys = Object.keys(of ?? {}).filter((k) => !skip.includes(k)).sort();
  if (!keys.length) return <span class="faint">–</span>;
  return (
    <span class="labels">
      {keys.map((k) => (
        <span class="label" key={k}>
          <span class="k">{k}=</span>
          {of![k]}
        </span>
      ))}
    </span>
  );
}

export function Key({ children }: { children: ComponentChildren }) {
  return <kbd>{children}</kbd>;
}
