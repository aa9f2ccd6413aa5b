// The states that pages have besides the one they open in: dialogs, failures, disclosures, secrets shown once. Each is
// accessible, and each is reached and left by the keyboard alone.

import assert from 'node:assert/strict';
import { after, before, suite, test } from 'node:test';

import { codeOf } from '../lib/authenticator.mjs';
import { faultsAtAnyWidth, faultsOf } from '../lib/axe.mjs';
import { OF_MEMBERS, OF_OWNERS } from '../lib/console-pages.mjs';
import { OWNER, joinAs, knock, signIn, startChromium, startConsole } from '../lib/console.mjs';
import { furnish } from '../lib/furnish.mjs';

const LIMIT = { timeout: 300_000 };

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

  test('searches, members in their states and the password that must be replaced are without a fault', LIMIT, async () => {
    const { page } = await chromium.person(console_.origin);
    await signIn(page);
    const jo = { email: 'jo@acme.example', password: 'quiet Harbor 3 lantern, plum' };
    await joinAs(console_, chromium, jo, page);
    const found = [];
    for (const [path, rows] of [['/settings/members', '#members'], ['/settings/access-keys', '#keys']]) {
      await page.goto(path);
      await page.getByLabel('Search').fill('nothing that is called so');
      await page.locator(`${rows} .empty`).waitFor();
      assert.equal(new URL(page.url()).searchParams.get('q'), 'nothing that is called so');
      assert.ok(await page.getByLabel('Search').evaluate((field) => field === document.activeElement), 'it may be typed on');
      found.push(...(await faultsAtAnyWidth(page, `${path} without a find`)));
    }
    await page.goto('/settings/members');
    await page.getByRole('link', { name: 'jo', exact: true }).click();
    await page.getByRole('button', { name: 'Set', exact: true }).click();
    await page.locator('#confirm-yes').click();
    const temporary = await page.locator('#secret').textContent();
    found.push(...(await faultsAtAnyWidth(page, 'a temporary password')));
    const { page: guest } = await knock(console_, chromium, { ...jo, password: temporary });
    assert.equal(new URL(guest.url()).pathname, '/change-password');
    found.push(...(await faultsAtAnyWidth(guest, '/change-password')));
    await page.goto('/settings/members');
    await page.getByRole('link', { name: 'jo', exact: true }).click();
    await page.getByRole('button', { name: 'Suspend', exact: true }).click();
    await page.locator('#confirm-yes').click();
    await page.getByRole('button', { name: 'Reactivate' }).waitFor();
    found.push(...(await faultsAtAnyWidth(page, 'a suspended member')));
    assert.deepEqual(found, []);
  });

  test('failures, questions and secrets shown once are without a fault', LIMIT, async () => {
    const found = [];
    const { page: stranger } = await chromium.person(console_.origin);
    await stranger.goto('/login');
    await stranger.getByLabel('E-mail').fill(OWNER.email);
    await stranger.getByLabel('Password', { exact: true }).fill('not this one');
    await stranger.keyboard.press('Enter');
    await stranger.getByRole('alert').waitFor();
    found.push(...(await faultsOf(stranger, 'a wrong password')));
    await stranger.goto('/login?returnTo=%2Foverview&reason=timeout');
    found.push(...(await faultsOf(stranger, 'after a time-out')));
    await stranger.goto('/nowhere');
    found.push(...(await faultsOf(stranger, 'a page that is not there')));

    const { page } = await chromium.person(console_.origin);
    await signIn(page, OWNER, '/settings/access-keys');
    await page.locator('[data-dialog="new-key"]').first().click();
    const dialog = page.locator('dialog[open]');
    await dialog.getByLabel('Name').fill('Nightly');
    await dialog.getByLabel('Addresses').fill('somewhere');
    await dialog.getByRole('button', { name: 'Make the key' }).click();
    await dialog.locator('.field-error').waitFor();
    found.push(...(await faultsOf(page, 'a key that is refused')));
    await dialog.getByLabel('Addresses').fill('203.0.113.0/24');
    await dialog.getByRole('button', { name: 'Make the key' }).click();
    await page.locator('#secret').waitFor();
    found.push(...(await faultsOf(page, 'a key that is shown once')));

    console_.pass(11 * 60);
    await page.goto('/mfa/setup');
    await page.getByRole('button', { name: 'Use an authenticator app' }).click();
    await page.locator('#prove[open]').waitFor();
    found.push(...(await faultsOf(page, 'who are you')));
    await page.locator('#prove').getByLabel('Password').fill(OWNER.password);
    await page.keyboard.press('Enter');
    const secret = await page.locator('#secret').textContent();
    found.push(...(await faultsOf(page, 'an app that waits for its code')));
    await page.getByLabel('Verification code').fill('000000');
    await page.keyboard.press('Enter');
    await page.locator('.field-error').waitFor();
    found.push(...(await faultsOf(page, 'a wrong code')));
    await page.getByLabel('Verification code').fill(codeOf(secret, 11 * 60));
    await page.keyboard.press('Enter');
    await page.getByRole('heading', { name: 'Save your recovery codes' }).waitFor();
    found.push(...(await faultsOf(page, 'recovery codes')));
    console_.pass(12 * 60);
    await stranger.goto('/login');
    await stranger.getByLabel('E-mail').fill(OWNER.email);
    await stranger.getByLabel('Password', { exact: true }).fill(OWNER.password);
    await stranger.keyboard.press('Enter');
    await stranger.waitForURL('**/login/verify**');
    found.push(...(await faultsOf(stranger, 'the second step')));
    await stranger.getByText('Use a recovery code').click();
    found.push(...(await faultsOf(stranger, 'the second step with a recovery code')));
    assert.deepEqual(found, []);
  });
});
