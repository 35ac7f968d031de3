import { sentence } from '../base/api.ts';
import { plural, seconds } from '../base/format.ts';
import type { Run } from '../base/types.ts';
import { Mark } from '../ui/marks.tsx';
import { PhaseBar, phaseTotals } from '../ui/spark.tsx';
import { dot, runWords } from './checkparts.ts';

/** A run from a place that was asked for; neither run nor error while it is under way. */
export type Try = { location: string; run?: Run; error?: unknown };

/** Results of several places side by side, each as it comes. */
export function Tries({ tries, close }: { tries: Try[]; close?: () => void }) {
  const scale = Math.max(1, ...tries.map((t) => (t.run ? phaseTotals(t.run).reduce((a, b) => a + b, 0) : 0)));
  const done = tries.filter((t) => t.run || t.error).length;
  const failed = tries.filter((t) => t.run && !t.run.success).length;
  return (
    <div class="tries" role="status">
      <p class="trieshead">
        <span>
          {done < tries.length ? `${done} of ${plural(tries.length, 'place')} answered` : failed ? `${failed} of ${plural(tries.length, 'place')} ${failed === 1 ? 'sees' : 'see'} it fail.` : `It is well from ${tries.length === 1 ? tries[0]!.location : `all ${tries.length} places`}.`}
        </span>
        {close && done === tries.length && (
          <button class="link" onClick={close}>
            Close
          </button>
        )}
      </p>
      <ul>
        {tries.map((t) => (
          <li key={t.location}>
            <div>
              <strong>{t.location}</strong>{' '}
              {t.run ? t.run.success ? <span class="soft">ok in {seconds(t.run.duration_seconds)}</span> : <Mark state="page" word={`failed at ${t.run.stage || 'an unknown stage'}`} /> : t.error ? <Mark state="unknown" word="not run" /> : <span class="faint">running …</span>}
            </div>
            {t.run && <PhaseBar ms={phaseTotals(t.run)} scale={scale} failed={!t.run.success} width={200} />}
            {t.run && !t.run.success && <div class="soft">{dot(t.run.message || runWords(t.run))}</div>}
            {t.run?.success && <div class="faint">{[t.run.hops?.at(-1)?.address, t.run.hops?.at(-1)?.status ? `status ${t.run.hops.at(-1)!.status}` : '', (t.run.hops?.length ?? 0) > 1 ? plural(t.run.hops!.length, 'hop') : ''].filter(Boolean).join(', ')}</div>}
            {t.error ? <div class="soft">{sentence(t.error)}</div> : null}
          </li>
        ))}
      </ul>
    </div>
  );
}
