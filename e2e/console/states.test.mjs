// The states that pages have besides the one they open in: dialogs, failures, disclosures, secrets shown once. Each is
// accessible, and each is reached and left by the keyboard alone.

import assert from 'node:assert/strict';
import { after, before, suite, test } from 'node:test';

import { faultsAtAnyWidth, faultsOf } from '../lib/axe.mjs';
import { OF_MEMBERS, OF_OWNERS } from '../lib/console-pages.mjs';
import { STAGE, states } from '../lib/console-states.mjs';
import { OWNER, signIn, startChromium, startConsole } from '../lib/console.mjs';
import { furnish } from '../lib/furnish.mjs';

const LIMIT = { timeout: 900_000 };

suite('the states of the console', LIMIT, () => {
  let console_;
  let chromium;

  before(async () => {
    console_ = await startConsole({ movesTime: true });
    chromium = await startChromium();
    await furnish(console_);
  });

  after(async () => {
    await chromium?.stop();
    await console_?.stop();
  });

  /** Goes by Tab until the element is reached, and presses a key on it. */
  const press = async (page, element, key = 'Enter') => {
    const isReached = () => element.evaluate((wanted) => wanted === document.activeElement);
    for (let steps = 0; steps < 400; steps += 1) {
      if (await isReached()) {
        await page.keyboard.press(key);
        return;
      }
      await page.keyboard.press('Tab');
    }
    assert.fail(`${await element.evaluate((wanted) => wanted.outerHTML)} is not reached by the keyboard`);
  };

  /** A page on which every disclosure is open. */
  const opened = async (page, path) => {
    await page.goto(path);
    await page.evaluate(() => {
      for (const details of document.querySelectorAll('main details')) details.open = true;
    });
  };

  test('every dialog and every disclosure is without a fault, opens by the keyboard, holds it, and gives it back', LIMIT, async () => {
    const { page, wrong } = await chromium.person(console_.origin);
    await signIn(page);
    const found = [];
    const seen = [];
    for (const path of [...OF_MEMBERS, ...OF_OWNERS]) {
      await opened(page, path);
      for (const width of [360, 1280]) {
        await page.setViewportSize({ width, height: 900 });
        found.push(...(await faultsOf(page, `${path} opened, ${width} wide`)));
      }
      const openers = page.locator('main [data-dialog]:visible, main [hx-confirm]:visible, header [data-dialog]:visible');
      for (let each = 0; each < (await openers.count()); each += 1) {
        const opener = openers.nth(each);
        if (await opener.isDisabled()) continue;
        await page.evaluate(() => document.activeElement?.blur());
        await press(page, opener);
        const dialog = page.locator('dialog[open]');
        await dialog.waitFor();
        const name = `${path} ${await dialog.getAttribute('id')}`;
        if (!seen.includes(name)) {
          seen.push(name);
          if ((await dialog.getAttribute('id')) === 'confirm' && (await opener.evaluate((asked) => asked.matches('button')))) {
            assert.equal(await page.locator('#confirm-yes').innerText(), await opener.innerText(), `${name} says what will be done`);
          }
          found.push(...(await faultsOf(page, name)));
          for (let steps = 0; steps < 12; steps += 1) {
            await page.keyboard.press('Tab');
            const isInside = await page.evaluate(() => document.activeElement === document.body || Boolean(document.activeElement.closest('dialog[open]')));
            assert.ok(isInside, `${name} holds the keyboard`);
          }
        }
        await page.keyboard.press('Escape');
        await dialog.waitFor({ state: 'detached' }).catch(() => {});
        assert.equal(await page.locator('dialog[open]').count(), 0, `${name} closes`);
        assert.ok(await opener.evaluate((wanted) => wanted === document.activeElement), `${name} gives the keyboard back`);
      }
    }
    assert.ok(seen.length >= 8, `only ${seen}`);
    assert.deepEqual(found, []);
    assert.deepEqual(wrong, []);
  });

  test('a dialog that asks before something is done names it, whatever was asked before', LIMIT, async () => {
    const { page } = await chromium.person(console_.origin);
    const { page: other } = await chromium.person(console_.origin);
    for (const tab of [page, other]) await signIn(tab, OWNER, '/settings/profile');
    await page.reload();
    const yes = page.locator('#confirm-yes');
    const asked = async (question) => {
      await question();
      await page.locator('#confirm[open]').waitFor();
      const text = await yes.innerText();
      await page.keyboard.press('Escape');
      return text;
    };
    assert.equal(await asked(() => page.getByRole('button', { name: 'End All Other Sessions' }).click()), 'End All Other Sessions');
    assert.equal(await asked(() => page.getByRole('button', { name: 'End', exact: true }).first().click()), 'End');
    // What is sent by no button at all, as a choice in a list is.
    const bySelect = () =>
      page.evaluate(() => {
        const form = document.querySelector('form[hx-post="/settings/profile"]');
        form.setAttribute('hx-confirm', 'Is that so?');
        globalThis.htmx.trigger(form, 'submit');
      });
    assert.equal(await asked(bySelect), 'Continue');
    assert.equal(await asked(() => page.locator('form[hx-post="/settings/profile"]').getByRole('button', { name: 'Save' }).click()), 'Save');
  });

  test('a search that finds nothing says so, stays in the address, and may be typed on', LIMIT, async () => {
    const { page } = await chromium.person(console_.origin);
    await signIn(page);
    const found = [];
    for (const [path, rows] of [['/settings/members', '#members'], ['/settings/access-keys', '#keys']]) {
      await page.goto(path);
      await page.getByLabel('Search').fill('nothing that is called so');
      await page.locator(`${rows} .empty`).waitFor();
      assert.equal(new URL(page.url()).searchParams.get('q'), 'nothing that is called so');
      assert.ok(await page.getByLabel('Search').evaluate((field) => field === document.activeElement), 'it may be typed on');
      found.push(...(await faultsAtAnyWidth(page, `${path} without a find`)));
    }
    assert.deepEqual(found, []);
  });

  test('an address that leads into something closed opens it', LIMIT, async () => {
    const { page } = await chromium.person(console_.origin);
    await signIn(page, OWNER, '/audit-log');
    const place = page.locator('#public-key');
    assert.equal(await place.isVisible(), false, 'it is closed');
    await page.evaluate(() => (location.hash = 'public-key'));
    await place.waitFor();
    await page.goto('/overview');
    await page.goto('/audit-log#public-key');
    await place.waitFor();
  });

  test('every state is without a fault, at any width', LIMIT, async () => {
    const stage = await startConsole(STAGE);
    try {
      await furnish(stage);
      const found = [];
      const seen = [];
      for await (const [name, page] of states(stage, chromium)) {
        seen.push(name);
        found.push(...(await faultsAtAnyWidth(page, name)));
      }
      assert.equal(new Set(seen).size, seen.length);
      assert.ok(seen.length > 70, `only ${seen}`);
      assert.deepEqual(found, []);
    } finally {
      await stage.stop();
    }
  });
});
