/** Three significant digits with thousands separated: 0.0312, 3.12, 31.2, 312, 12,345. */
export function sig3(n: number | null | undefined): string {
  if (n === null || n === undefined || Number.isNaN(n)) return '–';
  if (!Number.isFinite(n)) return n > 0 ? '+Inf' : '-Inf';
  if (n === 0) return '0';
  const a = Math.abs(n);
  if (a >= 99.95) return Math.round(n).toLocaleString('en-GB');
  if (a < 0.001) return n.toExponential(2).replace(/\.?0+e/, 'e');
  const s = n.toPrecision(3);
  return s.includes('.') ? s.replace(/\.?0+$/, '') : s;
}

/** A value of any size in a table cell: 3 digits and a metric prefix above 100,000. */
export function count(n: number | null | undefined): string {
  if (n === null || n === undefined || Number.isNaN(n)) return '–';
  const a = Math.abs(n);
  if (!Number.isFinite(n)) return n > 0 ? '+Inf' : '-Inf';
  if (a < 1e5) return sig3(n);
  for (const [f, u] of [[1e15, 'P'], [1e12, 'T'], [1e9, 'G'], [1e6, 'M'], [1e3, 'k']] as [number, string][]) {
    if (a >= f) return sig3(n / f) + ' ' + u;
  }
  return sig3(n);
}

export function bytes(n: number | null | undefined): string {
  if (n === null || n === undefined || Number.isNaN(n)) return '–';
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'];
  let i = 0;
  let v = n;
  while (Math.abs(v) >= 1023.5 && i < units.length - 1) {
    v /= 1024;
    i++;
  }
  return sig3(v) + ' ' + units[i];
}

/** Bytes a second. */
export function byteRate(n: number | null | undefined): string {
  const s = bytes(n);
  return s === '–' ? s : s + '/s';
}

/** A short time: 312 µs, 31.2 ms, 3.12 s, 2 min 5 s. */
export function seconds(s: number | null | undefined): string {
  if (s === null || s === undefined || Number.isNaN(s)) return '–';
  const a = Math.abs(s);
  if (a === 0) return '0 s';
  if (a < 1e-6) return sig3(s * 1e9) + ' ns';
  if (a < 1e-3) return sig3(s * 1e6) + ' µs';
  if (a < 1) return sig3(s * 1e3) + ' ms';
  if (a < 100) return sig3(s) + ' s';
  return age(s);
}

/** A length of time in at most two units: 42 s, 12 min, 3 h 20 min, 5 d 2 h. */
export function age(s: number): string {
  const neg = s < 0;
  s = Math.abs(s);
  let out: string;
  if (s < 60) out = `${Math.floor(s)} s`;
  else if (s < 600) out = two(Math.floor(s / 60), 'min', Math.floor(s % 60), 's');
  else if (s < 3600) out = `${Math.floor(s / 60)} min`;
  else if (s < 86400) out = two(Math.floor(s / 3600), 'h', Math.floor((s % 3600) / 60), 'min');
  else out = two(Math.floor(s / 86400), 'd', Math.floor((s % 86400) / 3600), 'h');
  return neg ? '-' + out : out;
}

function two(a: number, au: string, b: number, bu: string) {
  return b ? `${a} ${au} ${b} ${bu}` : `${a} ${au}`;
}

/** A forecast in days: 3.2 hours, 5.2 days, 2.4 years. */
export function inDays(n: number): string {
  if (n > 3650) return 'more than 10 years';
  if (n > 730) return `${sig3(n / 365)} years`;
  return n < 1 ? `${sig3(n * 24)} hours` : `${sig3(n)} days`;
}

export function percent(r: number | null | undefined): string {
  return r === null || r === undefined || Number.isNaN(r) ? '–' : sig3(r * 100) + ' %';
}

/** Percent digits for an uptime: 100, 99.98, 98.7. */
export function uptime(r: number | null | undefined): string {
  if (r === null || r === undefined || Number.isNaN(r)) return '–';
  if (r >= 1) return '100';
  const p = r * 100;
  return (Math.floor(p * (p > 99 ? 100 : 10)) / (p > 99 ? 100 : 10)).toString();
}

/** "1 check", "2 checks". */
export function plural(n: number, one: string, many = one + 's'): string {
  return `${n.toLocaleString('en-GB')} ${n === 1 ? one : many}`;
}

export type Unit = 'none' | 's' | 'bytes' | 'percent' | 'perbyte' | 'time';

/** The unit that a query's result most likely has, by Prometheus naming habits. */
export function guessUnit(expr: string): Unit {
  const quantile = /histogram_quantile/.test(expr);
  if (quantile && /_seconds/.test(expr)) return 's';
  if (quantile && /_bytes/.test(expr)) return 'bytes';
  if (/\/[^/]*$/.test(expr) && !/_sum\b/.test(expr)) return 'none';
  if (/_sum\b[^/]*\/[^/]*_count\b/s.test(expr)) return /_seconds_sum\b/.test(expr) ? 's' : 'none';
  const rated = /\b(rate|irate|increase|deriv|delta|count)\s*\(/.test(expr);
  if (/_bytes(_total)?\b/.test(expr)) return rated ? (/increase|delta|count/.test(expr) ? 'none' : 'perbyte') : 'bytes';
  if (/_timestamp_seconds\b/.test(expr)) return 'none';
  if (/_seconds\b/.test(expr) && !rated) return 's';
  return 'none';
}

export function byUnit(u: Unit): (n: number | null | undefined) => string {
  switch (u) {
    case 's':
      return seconds;
    case 'bytes':
      return bytes;
    case 'perbyte':
      return byteRate;
    case 'percent':
      return percent;
    default:
      return count;
  }
}

export const unitNames: Record<Unit, string> = {
  none: 'no unit',
  s: 'seconds',
  bytes: 'bytes',
  perbyte: 'bytes per second',
  percent: 'ratio as %',
  time: 'time',
};

/** {a="b", c="d"} with the metric's name before it. */
export function seriesName(m: Record<string, string>): string {
  const { __name__: name = '', ...rest } = m;
  const inner = Object.keys(rest).sort().map((k) => `${k}=${JSON.stringify(rest[k])}`).join(', ');
  return inner ? `${name}{${inner}}` : name || '{}';
}
