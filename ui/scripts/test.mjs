// Bundles the tests with the builder's own compiler and runs them with Node's
// test runner: one toolchain, no second one for tests.
import { spawnSync } from 'node:child_process';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'vite';

const ui = join(dirname(fileURLToPath(import.meta.url)), '..');
const out = join(ui, 'node_modules/.vedette-test');
await build({ root: ui, configFile: false, logLevel: 'error', build: { ssr: 'test/ui.test.ts', outDir: out, emptyOutDir: true, target: 'node20' } });
process.exit(spawnSync(process.execPath, ['--test', join(out, 'ui.test.js')], { stdio: 'inherit' }).status ?? 1);
