/** Series colours in order, safe for colour-blind readers (Okabe and Ito), the last being ink. */
export const seriesColours = ['#0072B2', '#E69F00', '#009E73', '#CC79A7', '#56B4E9', '#D55E00', '#F0E442', 'var(--ink)'];

/** With more than eight series colour tells nothing: all are faint, the chosen one is drawn. */
export function colourOf(i: number, n: number): string {
  return n <= seriesColours.length ? seriesColours[i]! : 'var(--crowd)';
}
