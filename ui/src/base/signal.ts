import { useLayoutEffect, useReducer } from 'preact/hooks';

/** A value that tells its subscribers when it is replaced. */
export class Signal<T> {
  private v: T;
  private subs = new Set<() => void>();
  constructor(v: T) {
    this.v = v;
  }
  get value(): T {
    return this.v;
  }
  set value(v: T) {
    if (Object.is(v, this.v)) return;
    this.v = v;
    for (const f of [...this.subs]) f();
  }
  subscribe(f: () => void): () => void {
    this.subs.add(f);
    return () => {
      this.subs.delete(f);
    };
  }
}

/** Reads a signal in a component and renders it again when the value changes. */
export function useSignal<T>(s: Signal<T>): T {
  const [, again] = useReducer((n: number) => n + 1, 0);
  const seen = s.value;
  useLayoutEffect(() => {
    if (s.value !== seen) again(0);
    return s.subscribe(() => again(0));
  }, [s]);
  return seen;
}
