// Takes a picture of every page of the console: light and dark, on a desk and on a phone.
//
//     node e2e/console/screenshots.mjs DIRECTORY
//
// The deployment in them is made for it: people, keys, a gateway and its traffic.

import { mkdirSync } from 'node:fs';
import { join } from 'node:path';

import { OF_MEMBERS, OF_OWNERS, OPEN } from '../lib/console-pages.mjs';
import { signIn, startChromium, startConsole } from '../lib/console.mjs';
import { furnish } from '../lib/furnish.mjs';

const directory = process.argv[2];
if (!directory) {
  console.error('usage: node e2e/console/screenshots.mjs DIRECTORY');
  process.exit(2);
}
mkdirSync(directory, { recursive: true });

const LOOKS = {
  light: { viewport: { width: 1280, height: 860 }, colorScheme: 'light' },
  dark: { viewport: { width: 1280, height: 860 }, colorScheme: 'dark' },
  phone: { viewport: { width: 390, height: 844 }, isMobile: true, hasTouch: true },
};

const console_ = await startConsole();
const chromium = await startChromium();
try {
  await furnish(console_);
  for (const [look, options] of Object.entries(LOOKS)) {
    const stranger = await chromium.person(console_.origin, options);
    const owner = await chromium.person(console_.origin, options);
    await signIn(owner.page);
    for (const [{ page }, paths] of [[stranger, OPEN], [owner, [...OF_MEMBERS, ...OF_OWNERS]]]) {
      for (const path of paths) {
        await page.goto(path);
        const name = path.slice(1).replaceAll('/', '-');
        await page.screenshot({ path: join(directory, `${name}-${look}.png`), fullPage: true });
      }
    }
  }
} finally {
  await chromium.stop();
  await console_.stop();
}
