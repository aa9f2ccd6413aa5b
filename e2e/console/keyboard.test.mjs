// Everything with the keyboard alone: every control of every page is reached and seen to have the keyboard, and each flow is
// gone through from its beginning to its end without a pointer.

import assert from 'node:assert/strict';
import { after, before, suite, test } from 'node:test';

import { codeOf } from '../lib/authenticator.mjs';
import { OF_MEMBERS, OF_OWNERS, OPEN, firstOfEach } from '../lib/console-pages.mjs';
import { OWNER, linkTo, signIn, startChromium, startConsole } from '../lib/console.mjs';
import { furnish } from '../lib/furnish.mjs';
import { button, choose, press, type } from '../lib/keyboard.mjs';

const LIMIT = { timeout: 300_000 };
const GUEST = { email: 'dee@acme.example', password: 'quiet Harbor 3 lantern, plum' };

const KIM = 'kim@acme.example';

/** What takes the keyboard on a page as it stands. Of radio buttons that belong together, one does. */
const CONTROLS = 'a[href], button, input:not([type="hidden"]), select, textarea, summary, [tabindex="0"]';

suite('the console by keyboard', LIMIT, () => {
  let console_;
  let chromium;

  before(async () => {
    console_ = await startConsole();
    chromium = await startChromium();
    await furnish(console_);
  });

  after(async () => {
    await chromium?.stop();
    await console_?.stop();
  });

  /** The controls of a page that Tab does not come to, and those that do not show that they have the keyboard. */
  const missed = async (page, path) => {
    await page.goto(path);
    await page.evaluate((controls) => {
      const isReached = (control) => {
        if (control.matches(':disabled') || control.tabIndex < 0 || control.closest('dialog:not([open]), [hidden]')) return false;
        if (!control.checkVisibility({ visibilityProperty: true })) return false;
        if (control.type !== 'radio') return true;
        const group = [...document.querySelectorAll(`input[type="radio"][name="${control.name}"]`)].filter(({ form }) => form === control.form);
        return control.checked || (!group.some(({ checked }) => checked) && group[0] === control);
      };
      globalThis.toReach = new Set([...document.querySelectorAll(controls)].filter(isReached));
      globalThis.unseen = new Set();
    }, CONTROLS);
    const count = await page.evaluate(() => globalThis.toReach.size);
    for (let steps = 0; steps < count * 2 + 20; steps += 1) {
      await page.keyboard.press('Tab');
      const left = await page.evaluate(() => {
        const at = document.activeElement;
        if (globalThis.toReach.delete(at)) {
          const { outlineStyle, outlineWidth, boxShadow } = getComputedStyle(at);
          const ringed = at.closest('label') ?? at;
          const around = getComputedStyle(ringed);
          const isSeen = (outlineStyle !== 'none' && outlineWidth !== '0px') || boxShadow !== 'none' || around.outlineStyle !== 'none' || around.boxShadow !== 'none';
          if (!isSeen) globalThis.unseen.add(at);
        }
        return globalThis.toReach.size;
      });
      if (left === 0) break;
    }
    return page.evaluate((where) => {
      const name = (control) => control.outerHTML.slice(0, 120);
      return [
        ...[...globalThis.toReach].map((control) => `${where} does not come to ${name(control)}`),
        ...[...globalThis.unseen].map((control) => `${where} does not show the keyboard at ${name(control)}`),
      ];
    }, path);
  };

  test('every control of every page is reached by it, and shows that it is', LIMIT, async () => {
    const stranger = await chromium.person(console_.origin);
    const owner = await chromium.person(console_.origin);
    await signIn(owner.page);
    const found = [];
    for (const path of OPEN) found.push(...(await missed(stranger.page, path)));
    for (const path of [...OF_MEMBERS, ...OF_OWNERS, ...(await firstOfEach(owner.page))]) found.push(...(await missed(owner.page, path)));
    assert.deepEqual(found, []);
    assert.deepEqual([...stranger.wrong, ...owner.wrong], []);
  });

  test('the menu of a small window is opened and closed, and says which it is', LIMIT, async () => {
    const { page } = await chromium.person(console_.origin, { viewport: { width: 390, height: 844 } });
    await signIn(page);
    const menu = page.getByRole('button', { name: 'Menu' });
    const state = async () => [await menu.getAttribute('aria-expanded'), await page.locator('#sidebar').isVisible()];
    assert.deepEqual(await state(), ['false', false]);
    await press(page, menu);
    await page.locator('#sidebar').waitFor();
    assert.deepEqual(await state(), ['true', true]);
    await page.keyboard.press('Escape');
    assert.deepEqual(await state(), ['false', false]);
  });

  test('a member is invited, comes in, is found and suspended', LIMIT, async () => {
    const { page } = await chromium.person(console_.origin);
    await signIn(page, OWNER, '/settings/members');
    await press(page, button(page, 'Invite'));
    const dialog = page.locator('dialog[open]');
    await type(page, dialog.getByLabel('E-mail'), GUEST.email);
    await choose(page, dialog.getByLabel('Role'), 'Auditor');
    await page.keyboard.press('Tab');
    await press(page, button(dialog, 'Invite'));
    const { page: guest } = await chromium.person(console_.origin);
    await guest.goto(await linkTo(console_, GUEST.email, '/register'));
    await type(guest, guest.getByLabel('Your name'), 'Dee');
    await type(guest, guest.getByLabel('Password', { exact: true }), GUEST.password);
    await press(guest, button(guest, 'Make my account'));
    await guest.waitForURL(/\/login/);

    await page.goto('/settings/members');
    await type(page, page.getByLabel('Search'), 'dee@');
    await page.locator('#members tbody tr').nth(1).waitFor({ state: 'detached' });
    await press(page, page.locator('#members tbody a').first());
    await page.waitForURL('**/settings/members/usr_*');
    await press(page, button(page, 'Suspend'));
    await press(page, page.locator('#confirm-yes'));
    await page.getByText('Suspended').first().waitFor();
  });

  test('somebody registers, is approved, and gets a temporary password in place of theirs', LIMIT, async () => {
    const kim = { email: KIM, password: 'quiet Harbor 3 lantern, plum' };
    const { page } = await chromium.person(console_.origin);
    await signIn(page, OWNER, '/settings/organization');
    await press(page, page.getByRole('switch', { name: /Self-registration/ }), 'Space');
    const registration = page.locator('form[hx-post="/settings/organization/registration"]');
    await press(page, button(registration, 'Save'));
    await page.getByText('Registration was changed.').waitFor();
    const { page: guest } = await chromium.person(console_.origin);
    await guest.goto('/register');
    await type(guest, guest.getByLabel('Organization'), 'acme');
    await type(guest, guest.getByLabel('Your name'), 'Kim');
    await type(guest, guest.getByLabel('E-mail'), kim.email);
    await type(guest, guest.getByLabel('Password', { exact: true }), kim.password);
    await press(guest, button(guest, 'Register'));
    await guest.waitForURL('**/verify-email');
    await guest.goto(await linkTo(console_, kim.email, '/verify-email'));
    await press(guest, guest.locator('main form button').first());
    await guest.waitForURL('**/pending');

    await page.goto('/settings/members');
    await press(page, button(page.locator('tr', { hasText: kim.email }), 'Approve…'));
    await press(page, page.locator('dialog[open]').getByRole('checkbox'), 'Space');
    await press(page, button(page.locator('dialog[open]'), 'Approve'));
    const temporary = await page.locator('#secret').textContent();
    await guest.goto('/login');
    await type(guest, guest.getByLabel('E-mail'), kim.email);
    await type(guest, guest.getByLabel('Password', { exact: true }), temporary.trim());
    await guest.keyboard.press('Enter');
    await guest.waitForURL('**/change-password');
    await type(guest, guest.getByLabel('New password'), 'slow Cedar 8 window, marble');
    await guest.keyboard.press('Enter');
    await guest.waitForURL(/\/login\?reason=password_changed/);
  });

  test('a forgotten password is replaced', LIMIT, async () => {
    const chosen = 'vexing otter plumbs 4 Azure';
    const { page } = await chromium.person(console_.origin);
    await page.goto('/login');
    await press(page, page.getByRole('link', { name: 'Forgot Password' }));
    await type(page, page.getByLabel('E-mail'), KIM);
    await page.keyboard.press('Enter');
    await page.goto(await linkTo(console_, KIM, '/reset-password'));
    await type(page, page.getByLabel('New password'), chosen);
    await press(page, button(page, 'Choose this password'));
    await page.waitForURL(/\/login\?reason=password_changed/);
  });

  test('a range is added to a list and saved, a provider is refused, and the audit log is exported', LIMIT, async () => {
    const { page } = await chromium.person(console_.origin);
    await signIn(page, OWNER, '/settings/security');
    await press(page, button(page, 'Add Range'));
    await type(page, page.locator('#add-range').getByLabel('CIDR range'), '127.0.0.0/8');
    await type(page, page.locator('#add-range').getByLabel('Label'), 'This machine');
    await page.keyboard.press('Enter');
    const restrictions = page.locator('#ip-restrictions');
    await restrictions.locator('tbody tr', { hasText: 'This machine' }).waitFor();
    await press(page, button(restrictions, 'Save'));
    await page.getByRole('status').getByText('They are in force').first().waitFor();

    await page.goto('/settings/security/sso');
    await type(page, page.getByLabel('Metadata URL or issuer'), 'https://provider.invalid');
    await type(page, page.getByLabel('Client ID'), 'console');
    await type(page, page.getByLabel('Client secret'), 'a secret of nobody');
    await press(page, button(page.locator('#oidc'), 'Save connection'));
    await page.locator('.field-error, .form-error').first().waitFor();

    await page.goto('/audit-log');
    await press(page, page.locator('[data-dialog="export"]').first());
    await press(page, page.locator('#export').getByRole('radio').first(), 'ArrowDown');
    const downloaded = page.waitForEvent('download');
    await press(page, button(page.locator('#export'), 'Export'));
    assert.match((await downloaded).suggestedFilename(), /\.csv$/);
  });

  test('the menu of a narrow window opens with the keyboard in it, and closes where the keyboard leaves it', LIMIT, async () => {
    const { page, wrong } = await chromium.person(console_.origin, { viewport: { width: 360, height: 740 } });
    await signIn(page, OWNER, '/settings/profile');
    const menu = page.locator('.sidebar');
    const holdsFocus = () => menu.evaluate((element) => element.contains(document.activeElement));
    await press(page, page.locator('[data-menu]'));
    assert.ok((await menu.isVisible()) && (await holdsFocus()), 'it has the keyboard');
    await page.keyboard.press('Tab');
    assert.ok(await holdsFocus(), 'the control: it goes on within');
    for (let steps = 0; steps < 40 && (await holdsFocus()); steps += 1) await page.keyboard.press('Tab');
    assert.ok(!(await holdsFocus()));
    assert.equal(await page.locator('[data-menu]').getAttribute('aria-expanded'), 'false');
    assert.ok(!(await menu.evaluate((element) => element.classList.contains('open'))));
    assert.deepEqual(wrong, []);
  });

  test('a key is made, changed and revoked', LIMIT, async () => {
    const { page } = await chromium.person(console_.origin);
    await signIn(page, OWNER, '/settings/access-keys');
    await press(page, button(page, 'New key'));
    await type(page, page.locator('dialog[open]').getByLabel('Name'), 'By hand');
    await page.keyboard.press('Enter');
    await page.locator('#secret').waitFor();
    await page.goto('/settings/access-keys');
    await press(page, page.getByRole('link', { name: 'By hand' }));
    await page.waitForURL('**/settings/access-keys/key_*');
    await type(page, page.locator('main form').getByLabel('Name'), 'By keyboard');
    await page.keyboard.press('Enter');
    await page.getByRole('heading', { name: 'By keyboard' }).first().waitFor();
    await press(page, button(page, 'Revoke'));
    await press(page, page.locator('#confirm-yes'));
    await page.waitForURL('**/settings/access-keys');
  });

  test('an authenticator app is added', LIMIT, async () => {
    const { page } = await chromium.person(console_.origin);
    await signIn(page, OWNER, '/mfa/setup');
    await press(page, button(page, 'Use an authenticator app'));
    const secret = await page.locator('#secret').textContent();
    await type(page, page.getByLabel('Verification code'), codeOf(secret));
    await page.keyboard.press('Enter');
    await page.getByRole('heading', { name: 'Save your recovery codes' }).waitFor();
    await press(page, page.getByRole('link', { name: 'I have saved them' }));
    await page.waitForURL((url) => url.pathname !== '/mfa/setup/totp');
  });

  test('a question is asked, a task is made and run, and the way out is found', LIMIT, async () => {
    const { page, context } = await chromium.person(console_.origin);
    const password = GUEST.password;
    await context.clearCookies();
    const member = { email: 'bo@acme.example', password };
    const { page: guest } = await chromium.person(console_.origin);
    await guest.goto(await linkTo(console_, member.email, '/register'));
    await type(guest, guest.getByLabel('Your name'), 'Bo');
    await type(guest, guest.getByLabel('Password', { exact: true }), password);
    await guest.keyboard.press('Enter');
    await guest.waitForURL(/\/login/);
    await signIn(page, member, '/chat');
    await type(page, page.getByLabel('Your question'), 'Hello by keyboard');
    await page.keyboard.press('Enter');
    await page.locator('#thread .prose').getByText('Hello by keyboard').waitFor();
    await page.keyboard.press('Control+k');
    const named = () => page.locator('#palette input').evaluate((field) => document.getElementById(field.getAttribute('aria-activedescendant'))?.textContent ?? null);
    const first = await named();
    await page.keyboard.press('ArrowDown');
    assert.notEqual(await named(), first, 'a screen reader is told which page is chosen');
    await page.keyboard.press('ArrowUp');
    assert.equal(await named(), first);
    await page.keyboard.type('no such page');
    assert.deepEqual([await named(), await page.locator('#palette input').getAttribute('aria-expanded')], [null, 'false']);
    await page.keyboard.press('Control+a');
    await page.keyboard.type('tasks');
    assert.equal(await named(), 'Tasks');
    await page.keyboard.press('Enter');
    await page.waitForURL('**/tasks');
    await press(page, button(page, 'New task'));
    await type(page, page.locator('#add').getByLabel('Name'), 'Greet');
    await type(page, page.locator('#add').getByLabel('Prompt'), 'Hello {{name}}');
    await press(page, button(page.locator('#add'), 'Save'));
    await page.waitForURL('**/tasks/tsk_*');
    await type(page, page.getByLabel('name', { exact: true }), 'Bo');
    await press(page, button(page.locator('main'), 'Run'));
    await page.waitForURL('**/runs/run_*');
    await page.locator('#run-state .badge.good').first().waitFor({ timeout: 30_000 });
    await press(page, page.locator('.me summary'));
    await press(page, button(page, 'Sign out'));
    await page.waitForURL(/\/login/);
  });
});
