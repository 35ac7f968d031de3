import { useEffect, useRef, useState } from 'preact/hooks';
import { useKeys } from './base/keys.ts';
import { live, refreshAll, retryNow } from './base/live.ts';
import { route, setParams } from './base/router.ts';
import { Signal, useSignal } from './base/signal.ts';
import { clock, currentRange, fromField, hms, localZone, parseDuration, presets, rangeWords, stamp, toField, zone, zoneName } from './base/time.ts';
import { Shape } from './ui/marks.tsx';

export const timeOpen = new Signal(false);

/** Moves the span by half of itself; a moving span becomes a fixed one. */
export function shiftRange(dir: number) {
  const r = currentRange();
  const by = ((r.to - r.from) / 2) * dir;
  const now = Date.now() / 1000;
  const to = Math.min(now, r.to + by);
  setParams({ from: String(Math.round(to - (r.to - r.from))), to: String(Math.round(to)), range: '' });
}

function Clock() {
  const [t, set] = useState(Date.now());
  useSignal(clock);
  useEffect(() => {
    const i = setInterval(() => !document.hidden && set(Date.now()), 1000);
    return () => clearInterval(i);
  }, []);
  return <time class="num">{hms(t)}</time>;
}

/** The same bar on every screen: range, zone, live or paused. */
export function TimeBar({ present }: { present: boolean }) {
  const r = useSignal(route);
  const open = useSignal(timeOpen);
  useSignal(live);
  useSignal(clock);
  const range = currentRange();
  const box = useRef<HTMLDivElement>(null);
  const isPaused = r.params.get('live') === '0';
  const toggle = () => {
    setParams({ live: isPaused ? '' : '0' }, true);
    if (isPaused) setTimeout(refreshAll);
  };
  useKeys({ p: toggle });
  useEffect(() => {
    if (!open) return;
    const off = (e: MouseEvent) => {
      if (!box.current?.contains(e.target as Node)) timeOpen.value = false;
    };
    document.addEventListener('mousedown', off);
    return () => document.removeEventListener('mousedown', off);
  }, [open]);

  const fixed = !range.relative;
  const text = fixed ? `${stamp(range.from * 1000, false)} to ${stamp(range.to * 1000, false).slice(stamp(range.from * 1000).slice(0, 10) === stamp(range.to * 1000).slice(0, 10) ? 11 : 0)}` : rangeWords(range.relative);
  return (
    <div class="timebar" ref={box} role="group" aria-label="Time">
      <button class="step" title="Earlier ([)" aria-label="Earlier" onClick={() => shiftRange(-1)} disabled={present}>
        ‹
      </button>
      <button class="range" aria-expanded={open} aria-haspopup="dialog" title={present ? 'This screen shows the present; the range is kept for Checks and Explore (d)' : 'Time range (d)'} onClick={() => (timeOpen.value = !open)}>
        {present ? (
          <>
            present <Clock />
          </>
        ) : (
          <span class="num">{text}</span>
        )}
      </button>
      <button class="step" title="Later (])" aria-label="Later" onClick={() => shiftRange(1)} disabled={present || !fixed}>
        ›
      </button>
      <button
        class="zone"
        title={zone() === 'UTC' && localZone !== 'UTC' ? `Times are UTC; show ${localZone}` : localZone === 'UTC' ? 'Times are UTC' : `Times are ${localZone}; show UTC`}
        onClick={() => setParams({ tz: r.params.get('tz') === 'utc' ? '' : 'utc' }, true)}
      >
        {zoneName()}
      </button>
      <button class={isPaused ? 'livemode is-paused' : 'livemode'} onClick={toggle} title={isPaused ? 'Paused; go on (p)' : 'Live; pause (p)'}>
        {isPaused ? 'Paused' : live.value.mode === 'polling' ? 'Live, each 10 s' : live.value.mode === 'stale' ? 'Stale' : 'Live'}
      </button>
      {open && <RangePicker close={() => (timeOpen.value = false)} present={present} />}
    </div>
  );
}

function RangePicker({ close, present }: { close: () => void; present: boolean }) {
  const range = currentRange();
  const [from, setFrom] = useState(toField(range.from));
  const [to, setTo] = useState(toField(range.to));
  const [own, setOwn] = useState('');
  const [wrong, setWrong] = useState('');
  const ref = useRef<HTMLDivElement>(null);
  useKeys({ Escape: close });
  useEffect(() => {
    const before = document.activeElement as HTMLElement | null;
    (ref.current?.querySelector<HTMLElement>('[aria-pressed=true]') ?? ref.current?.querySelector<HTMLElement>('button'))?.focus();
    return () => before?.focus?.();
  }, []);
  const pick = (rel: string) => {
    setParams({ range: rel === '1h' ? '' : rel, from: '', to: '' });
    close();
  };
  return (
    <div class="popup" role="dialog" aria-label="Time range" ref={ref}>
      {present && <p class="soft">This screen shows the present. The range is kept for Checks and Explore.</p>}
      <div class="presets">
        {presets.map((p) => (
          <button key={p} class="small" aria-pressed={range.relative === p} onClick={() => pick(p)}>
            {p}
          </button>
        ))}
        <form
          onSubmit={(e) => {
            e.preventDefault();
            if (parseDuration(own) > 0) pick(own.trim());
            else setWrong(`“${own}” is no length of time; write it as 90m, 1h30m or 3d.`);
          }}
        >
          <input aria-label="Own length, such as 90m" placeholder="90m" size={5} value={own} onInput={(e) => setOwn(e.currentTarget.value)} />
        </form>
      </div>
      <form
        class="span"
        onSubmit={(e) => {
          e.preventDefault();
          const a = fromField(from);
          const b = fromField(to);
          if (!(a < b)) {
            setWrong(Number.isNaN(a) || Number.isNaN(b) ? 'Write a time as 2026-01-31 18:04 or 2026-01-31 18:04:10.' : 'The start must lie before the end.');
            return;
          }
          setParams({ from: String(a), to: String(b), range: '' });
          close();
        }}
      >
        <label>
          From, {zoneName()}
          <input class="num" placeholder="2026-01-31 18:04" value={from} onInput={(e) => setFrom(e.currentTarget.value)} />
        </label>
        <label>
          To, {zoneName()}
          <input class="num" placeholder="2026-01-31 19:04" value={to} onInput={(e) => setTo(e.currentTarget.value)} />
        </label>
        <button type="submit">Show this span</button>
      </form>
      {wrong && (
        <p class="wrong" role="alert">
          {wrong}
        </p>
      )}
    </div>
  );
}

/** A stale screen says since when. */
export function LiveLine() {
  const l = useSignal(live);
  useSignal(clock);
  if (l.mode !== 'stale') return null;
  return (
    <div class="staleline" role="status">
      <Shape state="unknown" />
      <span>
        No news from Vedette since {hms(l.since)} {zoneName(l.since)}. What you see is as old. Trying again by itself.{' '}
        <button class="link" onClick={retryNow}>
          Try now
        </button>
      </span>
    </div>
  );
}
