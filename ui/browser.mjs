// Starts the system's Chromium for e2e.mjs and shots.mjs. No browser is downloaded.
import { existsSync } from 'node:fs';
import { chromium } from 'playwright-core';

export const executablePath = process.env.CHROMIUM ?? ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'].find((p) => existsSync(p));

export function openBrowser() {
  if (!executablePath) throw new Error('no Chromium: install it (apt-get install chromium) or name it in CHROMIUM');
  return chromium.launch({
    executablePath,
    args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'],
  });
}

/** Whether base is the mock server, whose scenarios can be changed. */
export async function isMock(base) {
  return fetch(base + '/mock').then((r) => r.ok && r.headers.get('content-type')?.includes('json'), () => false);
}
