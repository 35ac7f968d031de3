// After the build: the licences of the bundled packages in one file, a .gz
// beside each text file with no time in it, and the sizes against the budget.
import { readdirSync, readFileSync, statSync, writeFileSync, existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';

const ui = join(dirname(fileURLToPath(import.meta.url)), '..');
const dist = join(ui, '../internal/web/dist');

function bundled() {
  const pkg = JSON.parse(readFileSync(join(ui, 'package.json'), 'utf8'));
  const seen = new Set();
  const walk = (name) => {
    if (seen.has(name)) return;
    seen.add(name);
    const p = JSON.parse(readFileSync(join(ui, 'node_modules', name, 'package.json'), 'utf8'));
    for (const d of Object.keys(p.dependencies ?? {})) walk(d);
  };
  Object.keys(pkg.dependencies).forEach(walk);
  return [...seen].sort();
}

let text = 'The pages of Vedette contain code of these packages, under their own licences.\n';
for (const name of bundled()) {
  const dir = join(ui, 'node_modules', name);
  const p = JSON.parse(readFileSync(join(dir, 'package.json'), 'utf8'));
  const file = readdirSync(dir).find((f) => /^(licen[cs]e|copying)(\.|$)/i.test(f));
  text += `\n${'-'.repeat(78)}\n${name} ${p.version}, ${p.license}\n`;
  const author = typeof p.author === 'string' ? p.author : p.author?.name;
  text += file ? `\n${readFileSync(join(dir, file), 'utf8').trim()}\n` : `\nThe package carries no licence file${author ? `; its author is ${author}` : ''}. Licence text: https://spdx.org/licenses/${p.license}.html\n`;
}
writeFileSync(join(dist, 'THIRD_PARTY_LICENSES'), text);

const budget = { 'app.js': 60, 'app.css': 20, 'codemirror.js': 125, 'editor.js': 30 };
let total = 0;
let failed = false;
const sizes = {};
for (const f of readdirSync(dist).sort()) {
  if (f.endsWith('.gz')) continue;
  const path = join(dist, f);
  total += statSync(path).size;
  if (!/\.(js|css|html|svg|json)$|^THIRD_PARTY_LICENSES$/.test(f)) continue;
  const raw = readFileSync(path);
  const gz = gzipSync(raw, { level: 9 });
  gz[9] = 255; // the operating system byte, so that every machine makes the same file
  writeFileSync(path + '.gz', gz);
  total += gz.length;
  sizes[f] = gz.length;
  const limit = (budget[f] ?? 60) * 1024;
  const over = f.endsWith('.js') && gz.length > limit;
  failed ||= over;
  console.log(`${f.padEnd(22)} ${String(raw.length).padStart(8)} ${String(gz.length).padStart(8)} gzip${over ? `  OVER ${limit}` : ''}`);
}
const first = ['index.html', 'app.js', 'app.css', 'now.js'].reduce((n, f) => n + (sizes[f] ?? 0), 0);
console.log(`first screen ${first} gzip, all files ${total}`);
if (first > 120 * 1024 || total > 1.5e6) failed = true;
if (!existsSync(join(dist, 'index.html'))) failed = true;
if (failed) {
  console.error('the built files are above the budget');
  process.exit(1);
}
