import type { ComponentType } from 'preact';
import { useEffect, useState } from 'preact/hooks';
import type { ChartProps } from '../chart.tsx';

let loaded: ComponentType<ChartProps> | null = null;

/** The chart, whose file comes when the first one is shown. */
export function LazyChart(p: ChartProps) {
  const [, again] = useState(0);
  const C = loaded;
  useEffect(() => {
    if (loaded) {
      if (!C) again(1); // its file came between the first drawing and now, for another chart
    } else {
      import('../chart.tsx').then((m) => {
        loaded = m.Chart;
        again(1);
      }, () => again(2));
    }
  }, []);
  return C ? <C {...p} /> : <div class="chart" style={{ minHeight: `${p.height ?? 260}px` }} aria-busy="true" />;
}
