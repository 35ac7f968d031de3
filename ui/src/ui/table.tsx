import type { ComponentChildren } from 'preact';
import { useEffect, useLayoutEffect, useRef, useState } from 'preact/hooks';
import { onChange } from '../base/live.ts';
import { route, setParams } from '../base/router.ts';
import { useSignal } from '../base/signal.ts';

export interface Column<T> {
  id: string;
  head: ComponentChildren;
  unit?: string;
  num?: boolean;
  cls?: string;
  title?: string;
  /** What the column sorts by; absent: it does not sort. */
  by?: (row: T) => number | string | null | undefined;
  cell: (row: T) => ComponentChildren;
}

const rowHeight = 28;
const windowAbove = 150;

interface Props<T> {
  /** Names the sort parameter in the address. */
  name: string;
  label: string;
  rows: T[];
  cols: Column<T>[];
  keyOf: (row: T) => string;
  open?: (row: T) => void;
  selected?: string;
  rowClass?: (row: T) => string;
  empty?: ComponentChildren;
  sortBy?: string;
  hover?: (row: T | null) => void;
  tall?: boolean;
  plain?: boolean;
  /** Where the window is narrow a row becomes two lines instead of being scrolled. */
  stack?: boolean;
}

/** Sorts by a column; text before numbers never mixes, absent values go last. */
export function compareBy<T>(by: (row: T) => number | string | null | undefined, down: boolean) {
  return (a: T, b: T): number => {
    const x = by(a);
    const y = by(b);
    const nx = x === null || x === undefined || Number.isNaN(x);
    const ny = y === null || y === undefined || Number.isNaN(y);
    if (nx || ny) return nx && ny ? 0 : nx ? 1 : -1;
    const c = typeof x === 'number' && typeof y === 'number' ? x - y : String(x).localeCompare(String(y), 'en', { numeric: true });
    return down ? -c : c;
  };
}

/** Rows that share a key are told apart by their number. */
export function distinct(keys: string[]): string[] {
  const seen = new Map<string, number>();
  return keys.map((k) => {
    const n = (seen.get(k) ?? 0) + 1;
    seen.set(k, n);
    return n === 1 ? k : `${k} #${n}`;
  });
}

/** Puts rows in the order they were last seen in; new ones go behind their natural neighbour. */
export function keepOrder(natural: string[], seen: string[]): string[] {
  const present = new Set(natural);
  const known = new Set(seen);
  const out = seen.filter((k) => present.has(k));
  natural.forEach((k, i) => {
    if (known.has(k)) return;
    const before = i > 0 ? out.indexOf(natural[i - 1]!) : -1;
    out.splice(before + 1, 0, k);
    known.add(k);
  });
  return out;
}

/**
 * A dense table: sort by head, j/k and Enter, sticky head, and only the visible
 * rows in the page when there are many. Live values change in place: rows keep
 * their order until the person sorts or refreshes.
 */
export function Table<T>(p: Props<T>) {
  const r = useSignal(route);
  const sortParam = p.name === 'main' ? 'sort' : `sort_${p.name}`;
  const wish = r.params.get(sortParam) ?? p.sortBy ?? '';
  const down = wish.startsWith('-');
  const col = p.cols.find((c) => c.id === wish.replace(/^-/, '') && c.by);
  const order = useRef<{ sort: string; epoch: number; keys: string[] }>({ sort: '?', epoch: 0, keys: [] });
  const [epoch, setEpoch] = useState(0);
  useEffect(() => onChange((t) => t.includes('user') && setTimeout(() => setEpoch((n) => n + 1), 300)), []);

  const sorted = col?.by ? [...p.rows].sort(compareBy(col.by, down)) : p.rows;
  const natural = distinct(sorted.map(p.keyOf));
  let keys = natural;
  if (order.current.sort === wish && order.current.epoch === epoch && order.current.keys.length) keys = keepOrder(natural, order.current.keys);
  order.current = { sort: wish, epoch, keys };
  const byKey = new Map(sorted.map((row, i) => [natural[i]!, row]));
  const moved = !col && keys.some((k, i) => k !== natural[i]);

  const body = useRef<HTMLTableSectionElement>(null);
  const [span, setSpan] = useState<[number, number]>([0, 60]);
  const many = keys.length > windowAbove && !p.tall;
  useLayoutEffect(() => {
    if (!many) return;
    let frame = 0;
    const measure = () => {
      frame = 0;
      const top = body.current?.getBoundingClientRect().top ?? 0;
      const a = Math.max(0, Math.floor(-top / rowHeight) - 15);
      const b = a + Math.ceil(innerHeight / rowHeight) + 30;
      setSpan((s) => (s[0] === a && s[1] === b ? s : [a, b]));
    };
    const soon = () => {
      frame ||= requestAnimationFrame(measure);
    };
    measure();
    addEventListener('scroll', soon, { passive: true, capture: true });
    addEventListener('resize', soon);
    return () => {
      removeEventListener('scroll', soon, { capture: true });
      removeEventListener('resize', soon);
      cancelAnimationFrame(frame);
    };
  }, [many, keys.length]);

  const [a, b] = many ? [Math.min(span[0], Math.max(0, keys.length - 10)), Math.min(keys.length, span[1])] : [0, keys.length];
  const shown = keys.slice(a, b);

  if (!p.rows.length && p.empty) return <div class="empty">{p.empty}</div>;
  return (
    <div class={`table-wrap${p.plain ? ' plain' : ''}${p.stack ? ' stack' : ''}`}>
      {moved && (
        <div class="moved">
          The order has changed.{' '}
          <button class="link" onClick={() => setEpoch((n) => n + 1)}>
            Sort again
          </button>
        </div>
      )}
      <table class={p.tall ? 'tall' : ''} aria-rowcount={keys.length + 1} onMouseLeave={() => p.hover?.(null)}>
        <caption class="sr">{p.label}</caption>
        <thead>
          <tr>
            {p.cols.map((c) => {
              const on = col === c;
              const inner = (
                <>
                  {c.head}
                  {c.unit && <span class="unit"> {c.unit}</span>}
                </>
              );
              return (
                <th key={c.id} scope="col" class={(c.num ? 'num ' : '') + (c.cls ?? '')} aria-sort={on ? (down ? 'descending' : 'ascending') : undefined} title={c.title}>
                  {c.by ? (
                    <button
                      class="sort"
                      onClick={() => {
                        const next = on ? (down === !!c.num ? (down ? c.id : '-' + c.id) : '') : c.num ? '-' + c.id : c.id;
                        setParams({ [sortParam]: next === (p.sortBy ?? '') ? '' : next || undefined }, true);
                      }}
                    >
                      {inner}
                      <span class="arrow" aria-hidden="true">
                        {on ? (down ? '↓' : '↑') : ''}
                      </span>
                    </button>
                  ) : (
                    inner
                  )}
                </th>
              );
            })}
          </tr>
        </thead>
        <tbody ref={body}>
          {a > 0 && (
            <tr aria-hidden="true" class="spacer" key="\u0000top">
              <td colSpan={p.cols.length} style={{ height: `${a * rowHeight}px` }} />
            </tr>
          )}
          {shown.map((k, i) => {
            const row = byKey.get(k)!;
            return (
              <tr
                key={k}
                data-row={k}
                tabIndex={-1}
                aria-rowindex={a + i + 2}
                aria-selected={p.selected === undefined ? undefined : p.selected === k}
                class={(p.open ? 'opens ' : '') + (p.rowClass?.(row) ?? '')}
                onMouseEnter={p.hover ? () => p.hover!(row) : undefined}
                onFocus={p.hover ? () => p.hover!(row) : undefined}
                onClick={
                  p.open &&
                  ((e) => {
                    if ((e.target as Element).closest('a, button, input, select')) return;
                    if (String(getSelection())) return;
                    p.open!(row);
                  })
                }
              >
                {p.cols.map((c, j) =>
                  j === 0 ? (
                    <th key={c.id} scope="row" class={(c.num ? 'num ' : '') + (c.cls ?? '')}>
                      {c.cell(row)}
                    </th>
                  ) : (
                    <td key={c.id} class={(c.num ? 'num ' : '') + (c.cls ?? '')}>
                      {c.cell(row)}
                    </td>
                  ),
                )}
              </tr>
            );
          })}
          {b < keys.length && (
            <tr aria-hidden="true" class="spacer" key="\u0000end">
              <td colSpan={p.cols.length} style={{ height: `${(keys.length - b) * rowHeight}px` }} />
            </tr>
          )}
        </tbody>
      </table>
    </div>
  );
}
