import { useKeys } from '../base/keys.ts';
import { route, setParams } from '../base/router.ts';
import { useSignal } from '../base/signal.ts';

/** Chart or its table: the key t, and ?view=table in the address. */
export function useTwin(): { on: boolean; toggle: () => void } {
  const r = useSignal(route);
  const on = r.params.get('view') === 'table';
  const toggle = () => setParams({ view: on ? '' : 'table' }, true);
  useKeys({ t: toggle });
  return { on, toggle };
}
