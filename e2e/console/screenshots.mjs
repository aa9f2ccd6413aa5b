// Takes a picture of every page of the console and of each of its states: light and dark, on a desk and on a phone.
//
//     node e2e/console/screenshots.mjs DIRECTORY            every page and state, from top to bottom
//     node e2e/console/screenshots.mjs --front DIRECTORY    those on the README, as a window shows them
//
// The deployment in them is made for it: people, keys, a gateway and its traffic.

import { mkdirSync } from 'node:fs';
import { join } from 'node:path';

import { OF_MEMBERS, OF_OWNERS, OPEN, firstOfEach } from '../lib/console-pages.mjs';
import { STAGE, nameOf, states } from '../lib/console-states.mjs';
import { signIn, startChromium, startConsole } from '../lib/console.mjs';
import { furnish, work } from '../lib/furnish.mjs';

const LOOKS = {
  light: { viewport: { width: 1280, height: 860 }, colorScheme: 'light' },
  dark: { viewport: { width: 1280, height: 860 }, colorScheme: 'dark' },
  phone: { viewport: { width: 390, height: 844 }, isMobile: true, hasTouch: true },
};

const FRONT = [
  ['/overview', 'light'],
  ['/events', 'light'],
  ['/settings/members', 'light'],
  ['/settings/security', 'dark'],
];

async function everyPage(chromium, origin, directory) {
  for (const [look, options] of Object.entries(LOOKS)) {
    const stranger = await chromium.person(origin, options);
    const owner = await chromium.person(origin, options);
    await signIn(owner.page);
    const entries = [...(await firstOfEach(owner.page)), ...(await work(owner.page))];
    for (const [{ page }, paths] of [[stranger, OPEN], [owner, [...OF_MEMBERS, ...OF_OWNERS, ...entries]]]) {
      for (const path of paths) {
        await page.goto(path);
        await page.screenshot({ path: join(directory, `${nameOf(path)}-${look}.png`), fullPage: true });
      }
    }
  }
}

async function everyState(chromium, console_, directory) {
  for await (const [name, page] of states(console_, chromium)) {
    for (const [look, { viewport, colorScheme = 'light' }] of Object.entries(LOOKS)) {
      await page.setViewportSize(viewport);
      await page.emulateMedia({ colorScheme });
      await page.screenshot({ path: join(directory, `${name}-${look}.png`), fullPage: true });
    }
  }
}

async function frontPages(chromium, origin, directory) {
  for (const [path, look] of FRONT) {
    const { page } = await chromium.person(origin, LOOKS[look]);
    await signIn(page);
    await page.goto(path);
    await page.screenshot({ path: join(directory, `${nameOf(path)}.png`) });
  }
}

const isFront = process.argv[2] === '--front';
const directory = process.argv[isFront ? 3 : 2];
if (!directory) {
  console.error('usage: node e2e/console/screenshots.mjs [--front] DIRECTORY');
  process.exit(2);
}
mkdirSync(directory, { recursive: true });
const console_ = await startConsole(isFront ? {} : STAGE);
const chromium = await startChromium();
try {
  await furnish(console_);
  if (isFront) {
    await frontPages(chromium, console_.origin, directory);
  } else {
    await everyPage(chromium, console_.origin, directory);
    await everyState(chromium, console_, directory);
  }
} finally {
  await chromium.stop();
  await console_.stop();
}
