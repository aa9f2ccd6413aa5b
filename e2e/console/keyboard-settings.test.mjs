// Settings by keyboard alone: each form of Settings → Security is filled in, saved and said to be saved, and the keyboard keeps
// its place, there and in lists that renew themselves; and whoever would lock themselves out is asked first.

import assert from 'node:assert/strict';
import { after, afterEach, before, suite, test } from 'node:test';

import { call } from '../lib/call.mjs';
import { OWNER, signIn, startChromium, startConsole } from '../lib/console.mjs';
import { furnish } from '../lib/furnish.mjs';
import { button, press, type } from '../lib/keyboard.mjs';

const LIMIT = { timeout: 180_000 };
const CONFIG = 'security:\n  managed_by: console\n';
const PAGE = '/settings/security';

suite('settings by keyboard', LIMIT, () => {
  let console_;
  let chromium;
  let page;
  let wrong;

  before(async () => {
    console_ = await startConsole({ config: CONFIG });
    chromium = await startChromium();
    await furnish(console_);
    ({ page, wrong } = await chromium.person(console_.origin));
    await signIn(page, OWNER, PAGE);
  });

  after(async () => {
    await chromium?.stop();
    await console_?.stop();
  });

  afterEach(() => assert.deepEqual(wrong, []));

  const form = (name) => page.locator(`form[hx-post="${PAGE}/${name}"]`);
  const checked = (place) => place.locator('input[type="radio"]:checked').first();
  /** What has the keyboard: the address that its form is sent to, and what it says. */
  const keyboard = () => page.evaluate(() => [document.activeElement.form?.getAttribute('hx-post'), document.activeElement.textContent.trim()]);
  const answered = (path) => page.waitForResponse((answer) => answer.request().method() === 'POST' && answer.url().endsWith(path));

  /** Of each form: its name, what is done in it, and what it then holds. */
  const FORMS = [
    ['session', (place) => press(page, checked(place), 'ArrowUp'), (place) => checked(place).inputValue(), '15m'],
    ['csrf', (place) => press(page, checked(place), 'ArrowDown'), (place) => checked(place).inputValue(), 'per_request'],
    ['password', (place) => type(page, place.getByLabel('Minimum Length'), '17'), (place) => place.getByLabel('Minimum Length').inputValue(), '17'],
    ['lockout', (place) => type(page, place.getByLabel('Wrong passwords'), '5'), (place) => place.getByLabel('Wrong passwords').inputValue(), '5'],
    ['api-keys', (place) => type(page, place.getByLabel('Rate Limiting'), '60'), (place) => place.getByLabel('Rate Limiting').inputValue(), '60'],
    ['mfa', (place) => press(page, checked(place), 'ArrowDown'), (place) => checked(place).inputValue(), 'required_for_admins'],
  ];
  for (const [name, change, held, expected] of FORMS) {
    test(`${name}: changed, saved and said, and the keyboard is where it was`, LIMIT, async () => {
      await page.goto(PAGE);
      assert.notEqual(await held(form(name)), expected, 'the control');
      await change(form(name));
      const sent = answered(`/${name}`);
      await press(page, button(form(name), 'Save'), 'Space');
      assert.equal((await sent).status(), 303);
      await page.locator('#toasts .toast').last().waitFor();
      assert.deepEqual(await keyboard(), [`${PAGE}/${name}`, 'Save']);
      await page.goto(PAGE);
      assert.equal(await held(form(name)), expected);
    });
  }

  test('where what was pressed is gone, the keyboard is at its heading, and where a dialog was sent, at what opens it', LIMIT, async () => {
    await page.goto(PAGE);
    const restrictions = page.locator('#ip-restrictions');
    await press(page, button(restrictions, 'Add Range'));
    await type(page, page.locator('#add-range').getByLabel('CIDR range'), '198.51.100.0/24');
    await page.keyboard.press('Enter');
    const remove = page.getByRole('button', { name: 'Remove 198.51.100.0/24' });
    await remove.waitFor();
    assert.equal(await page.evaluate(() => document.activeElement.textContent.trim()), 'Add Range');
    await press(page, remove, 'Space');
    await remove.waitFor({ state: 'detached' });
    assert.equal(await page.evaluate(() => document.activeElement.id), 'ip-heading');
  });

  test('a list of gateways renews itself for whoever follows it alone, and leaves the keyboard in its row', LIMIT, async () => {
    let renewed = 0;
    page.on('response', (answer) => {
      if (answer.url().includes('/gateways?live=on') && answer.request().headers()['hx-request']) renewed += 1;
    });
    await page.goto('/gateways');
    assert.equal(await page.locator('[data-live]').count(), 0);
    await press(page, page.getByRole('link', { name: 'Follow', exact: true }));
    await page.getByText('Following: what gateways report appears by itself.').waitFor();
    const row = page.locator('#found tbody a').first();
    await row.focus();
    const id = await row.getAttribute('id');
    await page.locator('#found').evaluate((found) => {
      globalThis.before = found;
    });
    await page.waitForFunction(() => !globalThis.before.isConnected);
    assert.ok(renewed > 0);
    assert.equal(await page.evaluate(() => document.activeElement.id), id);
    await press(page, page.getByRole('link', { name: 'Stop following' }));
    await page.waitForURL((url) => url.pathname === '/gateways' && url.search === '');
    assert.equal(await page.locator('[data-live]').count(), 0);
  });

  test('what is closed by Escape gives the keyboard back', LIMIT, async () => {
    await page.goto('/overview');
    const account = page.locator('.me summary');
    await press(page, account);
    await page.keyboard.press('Tab');
    await page.keyboard.press('Escape');
    assert.ok(await account.evaluate((wanted) => wanted === document.activeElement && !wanted.parentElement.open));
  });

  test('a key is rotated', LIMIT, async () => {
    await page.goto('/settings/access-keys');
    await press(page, page.getByRole('link', { name: 'Nightly report' }));
    await page.waitForURL('**/settings/access-keys/key_*');
    await press(page, button(page.locator('main'), 'Rotate'));
    assert.match((await page.locator('#secret').textContent()).trim(), /^kt_ak_/);
  });

  test('a name is changed, and all other sessions are ended', LIMIT, async () => {
    const { page: other } = await chromium.person(console_.origin);
    await signIn(other, OWNER, '/settings/profile');
    await page.goto('/settings/profile');
    await type(page, page.getByLabel('Name', { exact: true }), 'Olive by keyboard');
    await page.keyboard.press('Enter');
    await page.getByRole('status').getByText('Your profile was saved.').last().waitFor();
    await press(page, button(page, 'End All Other Sessions'));
    await press(page, page.locator('#confirm-yes'));
    await button(page, 'End All Other Sessions').waitFor({ state: 'detached' });
    await other.goto('/overview');
    assert.match(other.url(), /\/login/);
  });

  test('the theme is chosen and applied, and nothing happens before', LIMIT, async () => {
    await page.goto('/overview');
    await press(page, page.locator('.me summary'));
    await press(page, page.getByLabel('Theme'), 'End');
    assert.equal(await page.locator('html').getAttribute('data-theme'), 'system', 'a choice alone changes nothing');
    await press(page, button(page, 'Apply'));
    await page.locator('html[data-theme="dark"]').waitFor();
  });

  // The last one: nobody is let in any more behind it.
  test('harmless address lists are saved; those that lock their author out are asked about, and saved once that is meant', LIMIT, async () => {
    const restrictions = page.locator('#ip-restrictions');
    const allowlist = restrictions.getByLabel('Allowlist', { exact: true });
    const doorsAnswer = async () => (await call('GET', `${console_.origin}/login`)).status;
    const save = async () => {
      const sent = answered('/ip-restrictions');
      await press(page, button(restrictions, 'Save'));
      return (await sent).status();
    };
    const write = async (ranges) => {
      if (!(await allowlist.isVisible())) await press(page, restrictions.getByText('Edit both lists as text'));
      await type(page, allowlist, ranges);
    };

    await page.goto(PAGE);
    await press(page, restrictions.getByRole('switch', { name: /Enforce Allowlist/ }), 'Space');
    await write('127.0.0.0/8 This machine');
    assert.equal(await save(), 303);
    await page.getByRole('status').getByText('They are in force').first().waitFor();
    assert.equal(await doorsAnswer(), 200, 'the control');

    await page.goto(PAGE);
    await write('203.0.113.0/24 Office London');
    assert.equal(await save(), 200);
    await page.getByText('Nothing was saved: you would lock yourself out.').waitFor();
    await page.waitForFunction(() => document.activeElement.name === 'confirm_lockout');
    assert.equal(await doorsAnswer(), 200, 'not yet');
    await page.keyboard.press('Space');
    assert.equal(await save(), 303);
    assert.equal(await doorsAnswer(), 403);
  });
});
