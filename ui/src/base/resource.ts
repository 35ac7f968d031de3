import { useCallback, useEffect, useRef, useState } from 'preact/hooks';
import { ApiError } from './api.ts';
import { param } from './router.ts';
import { heard, onChange, paused, unheard } from './live.ts';

export interface Resource<T> {
  data: T | undefined;
  error: unknown;
  loading: boolean;
  reload: () => void;
}

/**
 * Loads, and loads again when one of the topics changes. The last good data
 * stays while a new load runs or fails. key names what is loaded: a new key
 * drops the old data.
 */
export function useResource<T>(key: string, load: (signal: AbortSignal) => Promise<T>, topics: string[], every = 1000): Resource<T> {
  key = `${param('tenant')} ${key}`; // another tenant's data is never shown while one waits
  const [state, set] = useState<{ key: string; data?: T; error?: unknown; loading: boolean }>({ key, loading: true });
  const fn = useRef(load);
  fn.current = load;
  const pause = useRef(every);
  pause.current = every;
  const run = useRef<() => void>(() => undefined);

  useEffect(() => {
    let gone = false;
    let busy: AbortController | null = null;
    let again = false;
    let last = 0;
    let timer: ReturnType<typeof setTimeout> | undefined;
    const start = async () => {
      if (gone) return;
      if (busy) {
        again = true;
        return;
      }
      clearTimeout(timer);
      timer = undefined;
      busy = new AbortController();
      last = Date.now();
      try {
        const data = await fn.current(busy.signal);
        heard();
        if (!gone) set({ key, data, loading: false });
      } catch (error) {
        if (gone || (error as Error).name === 'AbortError') return;
        if (error instanceof ApiError && error.status === 0) unheard();
        set((s) => ({ key, data: s.key === key ? s.data : undefined, error, loading: false }));
      } finally {
        busy = null;
        if (again && !gone) {
          again = false;
          later();
        }
      }
    };
    const later = () => {
      timer ??= setTimeout(start, Math.max(0, last + pause.current - Date.now()));
    };
    run.current = () => void start();
    void start();
    const off = onChange((changed) => {
      if (changed.includes('user')) void start();
      else if (!document.hidden && !paused() && changed.some((c) => topics.includes(c))) later();
    });
    return () => {
      gone = true;
      off();
      clearTimeout(timer);
      busy?.abort();
    };
  }, [key]);

  const mine = state.key === key;
  return { data: mine ? state.data : undefined, error: mine ? state.error : undefined, loading: !mine || state.loading, reload: useCallback(() => run.current(), []) };
}
