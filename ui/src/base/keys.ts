import { useLayoutEffect, useRef } from 'preact/hooks';

type Handler = (e: KeyboardEvent) => void | boolean;
const layers: Record<string, Handler>[] = [];

/**
 * Keys of a part of the page while it is shown. The newest part is asked first;
 * a handler that returns false lets the next one try.
 */
export function useKeys(map: Record<string, Handler>) {
  const ref = useRef(map);
  ref.current = map;
  // Before the next paint: a key pressed at once must find its part.
  useLayoutEffect(() => {
    const layer = new Proxy({} as Record<string, Handler>, { get: (_, k) => ref.current[k as string] });
    layers.push(layer);
    return () => {
      layers.splice(layers.indexOf(layer), 1);
    };
  }, []);
}

function typing(t: EventTarget | null): boolean {
  return t instanceof Element && !!t.closest('input:not([type=checkbox]):not([type=radio]):not([type=button]), textarea, select, [contenteditable=true], .cm-editor');
}

let prefix = '';
let prefixAt = 0;

function dispatch(e: KeyboardEvent, key: string): boolean {
  for (let i = layers.length - 1; i >= 0; i--) {
    const f = layers[i]![key];
    if (f && f(e) !== false) {
      e.preventDefault();
      return true;
    }
  }
  return false;
}

export function startKeys() {
  document.addEventListener('keydown', (e) => {
    if (e.defaultPrevented || e.isComposing) return;
    if ((e.ctrlKey || e.metaKey) && !e.altKey && e.key.toLowerCase() === 'k') {
      dispatch(e, 'Ctrl-K');
      return;
    }
    if (e.ctrlKey || e.metaKey || e.altKey) return;
    if (e.key === 'Escape') {
      if (typing(e.target) && (e.target as HTMLElement).closest('[role=dialog]') === null) {
        (e.target as HTMLElement).blur();
        e.preventDefault();
        return;
      }
      dispatch(e, 'Escape');
      return;
    }
    if (typing(e.target)) return;
    if (prefix && Date.now() - prefixAt < 1500) {
      const k = prefix + ' ' + e.key;
      prefix = '';
      if (dispatch(e, k)) return;
    }
    if (e.key === 'g') {
      prefix = 'g';
      prefixAt = Date.now();
      return;
    }
    if (e.key === 'j' || e.key === 'k') {
      if (dispatch(e, e.key) || moveRow(e.key === 'j' ? 1 : -1)) e.preventDefault();
      return;
    }
    if (e.key === 'Enter') {
      const t = e.target as HTMLElement;
      if (t.matches?.('[data-row]')) {
        e.preventDefault();
        openRow(t);
      }
      return;
    }
    dispatch(e, e.key);
  });
}

function openRow(row: HTMLElement) {
  const a = row.querySelector<HTMLElement>('[data-open]');
  if (a) a.click();
  else row.click();
}

/** Moves the focus to the next or previous row of the page's tables. */
function moveRow(by: number): boolean {
  const scope = document.querySelector('[role=dialog][aria-modal=true]') ?? document.querySelector('main');
  if (!scope) return false;
  const rows = [...scope.querySelectorAll<HTMLElement>('[data-row]')];
  if (!rows.length) return false;
  const at = rows.indexOf(document.activeElement?.closest<HTMLElement>('[data-row]') as HTMLElement);
  const next = at < 0 ? (by > 0 ? 0 : rows.length - 1) : Math.max(0, Math.min(rows.length - 1, at + by));
  rows[next]!.focus();
  rows[next]!.scrollIntoView({ block: 'nearest' });
  return true;
}
