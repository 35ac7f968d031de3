import { useEffect, useMemo, useRef, useState } from 'preact/hooks';
import { getJSON, mayWrite, prom } from './base/api.ts';
import { go, href } from './base/router.ts';
import type { Check, Location, Now, RuleGroup } from './base/types.ts';
import { idOf, type Entity } from './screens/signalsdata.ts';
import { screens } from './shell.tsx';
import { Dialog } from './ui/parts.tsx';
import { match } from './base/match.ts';

interface Item {
  kind: string;
  text: string;
  note: string;
  to: () => string;
}

/** What stands inside a screen and is looked for by its own name; the last is for those who may write. */
const parts: [string, string, () => string, boolean?][] = [
  ['New check', 'Checks', () => href(['checks'], { tab: 'new' }), true],
  ['New maintenance window', 'Checks', () => href(['checks'], { tab: 'maintenance', window: 'new' }), true],
  ['Maintenance windows', 'Checks', () => href(['checks'], { tab: 'maintenance' })],
  ['Uptime report of the month', 'Checks', () => href(['checks'], { tab: 'report' })],
  ['Places that run checks', 'Checks', () => href(['checks'], { tab: 'places' })],
  ['Checks that breach', 'Checks', () => href(['checks'], { state: 'breach' })],
];

/** Finds screens, checks, alerts, services and metric names. */
export function Palette({ close }: { close: () => void }) {
  const [q, setQ] = useState('');
  const [at, setAt] = useState(0);
  const [items, setItems] = useState<Item[]>(() => [
    ...screens.map((s) => ({ kind: 'screen', text: s.name, note: `g ${s.key}`, to: () => href([s.id]) })),
    ...parts.filter(([, , , write]) => !write || mayWrite()).map(([text, note, to]) => ({ kind: 'screen', text, note, to })),
  ]);
  const [waiting, setWaiting] = useState(5);
  const list = useRef<HTMLUListElement>(null);

  useEffect(() => {
    const a = new AbortController();
    const add = (more: Promise<Item[]>) => {
      void more
        .then((x) => setItems((old) => [...old, ...x]), () => undefined)
        .finally(() => setWaiting((n) => n - 1));
    };
    add(
      getJSON<{ checks: Check[] | null; locations?: Location[] | null }>('/api/v1/checks?recent=0&hops=0', a.signal).then((r) => [
        ...(r.checks ?? []).map((c) => ({ kind: 'check', text: c.name, note: c.state === 'up' ? c.target : c.state, to: () => href(['checks', c.id]) })),
        ...(r.locations ?? []).map((l) => ({ kind: 'place', text: l.name, note: l.state === 'up' ? '' : l.state, to: () => href(['checks'], { tab: 'places' }) })),
      ]),
    );
    add(
      prom<{ groups: RuleGroup[] }>('rules', { type: 'alert' }, a.signal).then((r) => {
        const seen = new Set<string>();
        const out: Item[] = [];
        for (const g of r.data.groups ?? []) {
          for (const x of g.rules) {
            if (seen.has(x.name)) continue;
            seen.add(x.name);
            const n = x.alerts?.length ?? 0;
            out.push({ kind: 'alert', text: x.name, note: n ? `${x.state}, ${n}` : 'quiet', to: () => (n ? href(['alerts'], { name: x.name }) : href(['alerts'], { tab: 'rules', name: x.name })) });
          }
        }
        return out;
      }),
    );
    add(getJSON<Now>('/api/v1/now', a.signal).then((r) => (r.services ?? []).map((s) => ({ kind: 'service', text: s.name, note: s.state === 'ok' ? '' : s.state, to: () => href(['now'], { service: s.name }) }))));
    add(
      getJSON<{ entities: Entity[] | null }>('/api/v1/signals', a.signal).then((r) =>
        (r.entities ?? []).map((e) => ({ kind: 'signals', text: e.name, note: e.state === 'ok' ? e.kind : `${e.kind}, ${e.state}`, to: () => href(['signals', e.kind], { id: idOf(e.labels) }) })),
      ),
    );
    add(prom<string[]>('label/__name__/values', { limit: '20000' }, a.signal).then((r) => (r.data ?? []).map((m) => ({ kind: 'metric', text: m, note: '', to: () => href(['explore'], { q: m }) }))));
    return () => a.abort();
  }, []);

  const found = useMemo(() => {
    if (!q.trim()) return items.filter((i) => i.kind !== 'metric').slice(0, 60);
    return items
      .map((i) => ({ i, s: match(q, i.text) + (i.kind === 'metric' ? -1 : 0) }))
      .filter((x) => x.s > -1)
      .sort((a, b) => b.s - a.s || a.i.text.length - b.i.text.length)
      .slice(0, 60)
      .map((x) => x.i);
  }, [q, items]);
  const cur = Math.min(at, Math.max(0, found.length - 1));
  useEffect(() => {
    list.current?.children[cur]?.scrollIntoView({ block: 'nearest' });
  }, [cur]);

  const open = (i: Item | undefined) => {
    close();
    if (i) go(i.to());
    else if (q.trim()) go(href(['explore'], { q: q.trim() }));
  };
  return (
    <Dialog title="Search" close={close} bare>
      <input
        class="palette-input"
        autofocus
        placeholder="Search screens, checks, alerts, services, metrics"
        aria-label="Search"
        role="combobox"
        aria-expanded="true"
        aria-controls="found"
        aria-activedescendant={found.length ? `found-${cur}` : undefined}
        autocomplete="off"
        spellcheck={false}
        value={q}
        onInput={(e) => {
          setQ(e.currentTarget.value);
          setAt(0);
        }}
        onKeyDown={(e) => {
          if (e.key === 'ArrowDown' || (e.ctrlKey && e.key === 'n')) setAt(Math.min(found.length - 1, cur + 1));
          else if (e.key === 'ArrowUp' || (e.ctrlKey && e.key === 'p')) setAt(Math.max(0, cur - 1));
          else if (e.key === 'Enter') open(found[cur]);
          else return;
          e.preventDefault();
        }}
      />
      <ul class="found" id="found" role="listbox" aria-label="Found" ref={list}>
        {found.map((i, n) => (
          <li key={i.kind + i.text + n} id={`found-${n}`} role="option" aria-selected={n === cur} onMouseMove={() => n !== cur && setAt(n)} onClick={() => open(i)}>
            <span class="kind">{i.kind}</span>
            <span class="text">{i.text}</span>
            <span class="note">{i.note}</span>
          </li>
        ))}
      </ul>
      <div class="palette-foot soft">
        {found.length ? (
          <>
            <kbd>↑</kbd> <kbd>↓</kbd> choose <kbd>Enter</kbd> open <kbd>Esc</kbd> close
          </>
        ) : waiting > 0 ? (
          'Searching …'
        ) : (
          <>
            Nothing has this name. <kbd>Enter</kbd> runs it as a query in Explore.
          </>
        )}
      </div>
    </Dialog>
  );
}
