// Every page of the console in a real Chromium: accessible, in both themes, at every width, and asking nobody else.

import assert from 'node:assert/strict';
import { after, before, suite, test } from 'node:test';

import { faultsOf } from '../lib/axe.mjs';
import { OF_MEMBERS, OF_OWNERS, OPEN, firstOfEach } from '../lib/console-pages.mjs';
import { signIn, startChromium, startConsole } from '../lib/console.mjs';
import { furnish, work } from '../lib/furnish.mjs';

const LIMIT = { timeout: 900_000 };
const WIDTHS = [360, 768, 1280, 2560];

suite('the pages of the console', LIMIT, () => {
  let console_;
  let chromium;

  before(async () => {
    console_ = await startConsole();
    chromium = await startChromium();
  });

  after(async () => {
    await chromium?.stop();
    await console_?.stop();
  });

  let isFurnished = false;

  /** Fills the deployment, the first time that it is asked for. */
  const furnished = async () => {
    if (!isFurnished) await furnish(console_);
    isFurnished = true;
  };

  test('no page has a fault that axe finds, in light and dark', LIMIT, async () => {
    const stranger = await chromium.person(console_.origin);
    const owner = await chromium.person(console_.origin);
    await signIn(owner.page);
    const found = [];
    for (const [{ page }, paths] of [[stranger, OPEN], [owner, [...OF_MEMBERS, ...OF_OWNERS]]]) {
      for (const path of paths) {
        const answer = await page.goto(path);
        assert.equal(answer.status(), 200, path);
        found.push(...(await faultsOf(page, path)));
      }
    }
    await furnished();
    for (const path of [...(await firstOfEach(owner.page)), ...(await work(owner.page))]) {
      await owner.page.goto(path);
      found.push(...(await faultsOf(owner.page, path)));
    }
    assert.deepEqual(found, []);
    assert.deepEqual([...stranger.wrong, ...owner.wrong], []);
  });

  test('no page, detail or dialog is wider than its window, in either language', LIMIT, async () => {
    const stranger = await chromium.person(console_.origin);
    const owner = await chromium.person(console_.origin);
    await signIn(owner.page);
    await furnished();
    const known = [...OF_MEMBERS, ...OF_OWNERS, ...(await firstOfEach(owner.page))];
    const wide = [];
    for (const language of ['en', 'de']) {
      for (const [{ page, context }, paths] of [[stranger, OPEN], [owner, known]]) {
        await context.addCookies([{ name: 'kt_language', value: language, url: console_.origin }]);
        for (const path of paths) {
          await page.goto(path);
          assert.equal(await page.locator('html').getAttribute('lang'), language);
          // A page that is there takes another width at once: it is loaded once for all of them.
          for (const width of WIDTHS) {
            await page.setViewportSize({ width, height: 900 });
            wide.push(...(await page.evaluate(tooWide)).map((what) => `${path} (${language}) at ${width}: ${what}`));
          }
        }
      }
    }
    assert.deepEqual(wide, []);
  });

  test('nothing stays in the browser but cookies that no script reads', LIMIT, async () => {
    const { page, context } = await chromium.person(console_.origin);
    await signIn(page);
    for (const path of OF_MEMBERS) await page.goto(path);
    const kept = await page.evaluate(async () => ({
      local: Object.keys(localStorage),
      session: { ...sessionStorage },
      databases: (await indexedDB.databases()).length,
      cookies: document.cookie,
    }));
    assert.deepEqual(kept, {
      local: [],
      // htmx keeps the path of the page; the path of a page is no secret, and signing out clears it.
      session: { 'htmx-current-path-for-history': OF_MEMBERS.at(-1) },
      databases: 0,
      cookies: '',
    });
    for (const cookie of await context.cookies()) {
      assert.ok(cookie.httpOnly && cookie.sameSite === 'Lax', JSON.stringify(cookie));
    }
  });
});

/** Runs in a page: what of it is wider than its window, as it stands, with all its details open, and in each dialog. */
function tooWide() {
  const found = [];
  const measure = (what) => {
    const over = document.documentElement.scrollWidth - innerWidth;
    if (over > 0) found.push(`${what}: ${over} too wide`);
  };
  measure('the page');
  const closed = [...document.querySelectorAll('main details:not([open])')];
  for (const details of closed) details.open = true;
  measure('the page with its details');
  for (const dialog of document.querySelectorAll('main dialog, #confirm, #prove, #palette')) {
    if (dialog.open) continue;
    dialog.showModal();
    const { left, right } = dialog.getBoundingClientRect();
    if (left < 0 || right > innerWidth || dialog.scrollWidth > dialog.clientWidth) found.push(`${dialog.id}: ${Math.round(right - left)}`);
    measure(`behind ${dialog.id}`);
    dialog.close();
  }
  for (const details of closed) details.open = false;
  return found;
}
