import type { ComponentType } from 'preact';
import { useEffect, useState } from 'preact/hooks';
import type { ChartProps } from '../chart.tsx';

let loaded: ComponentType<ChartProps> | null = null;

/** The chart, whose file comes when the first one is shown. */
export function LazyChart(p: ChartProps) {
  const [, again] = useState(0);
  useEffect(() => {
    if (!loaded) {
      import('../chart.tsx').then((m) => {
        loaded = m.Chart;
        again(1);
      }, () => again(2));
    }
  }, []);
  const C = loaded;
  return C ? <C {...p} /> : <div class="chart" style={{ minHeight: `${p.height ?? 260}px` }} aria-busy="true" />;
}
