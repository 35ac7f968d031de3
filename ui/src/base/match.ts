/**
 * How well text answers what was typed: below -1 is no match. Whole words and
 * starts of words count more than letters strewn about.
 */
export function match(typed: string, text: string): number {
  const q = typed.toLowerCase().trim();
  const t = text.toLowerCase();
  if (!q) return 0;
  if (t === q) return 100;
  if (t.startsWith(q)) return 80;
  const at = t.indexOf(q);
  if (at > 0) return /[\s_:./-]/.test(t[at - 1]!) ? 70 : 50;
  const words = q.split(/\s+/);
  if (words.length > 1 && words.every((w) => t.includes(w))) return 45;
  let i = 0;
  let gaps = 0;
  let last = -1;
  for (const c of q.replace(/\s+/g, '')) {
    i = t.indexOf(c, last + 1);
    if (i < 0) return -100;
    if (last >= 0 && i !== last + 1) gaps++;
    last = i;
  }
  return 30 - gaps * 4 < 5 ? -100 : 30 - gaps * 4;
}
