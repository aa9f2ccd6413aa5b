// By keyboard alone, what somebody does with an account of their own: setting everything up as its first owner, second steps, a
// passkey, a fresh proof, a device, another address and password, and the end of a session elsewhere.

import assert from 'node:assert/strict';
import { after, afterEach, before, suite, test } from 'node:test';

import { authenticator, codeOf } from '../lib/authenticator.mjs';
import { call } from '../lib/call.mjs';
import { OWNER, joinAs, linkTo, signIn, startChromium, startConsole } from '../lib/console.mjs';
import { button, press, reach, type } from '../lib/keyboard.mjs';

const LIMIT = { timeout: 180_000 };
const PASSWORD = 'quiet Harbor 3 lantern, plum';
const CHOSEN = 'vexing otter plumbs 4 Azure';
const BO = { email: 'bo@acme.example', password: PASSWORD };
const CY = { email: 'cy@acme.example', password: PASSWORD };
const DEE = { email: 'dee@acme.example', password: PASSWORD };
const PROFILE = '/settings/profile';
const MINUTE = 60;

suite('an account by keyboard', LIMIT, () => {
  let console_;
  let chromium;
  const wrong = [];

  before(async () => {
    console_ = await startConsole({ movesTime: true });
    chromium = await startChromium();
    const { page: host } = await chromium.person(console_.origin);
    await signIn(host);
    for (const who of [BO, CY, DEE]) await joinAs(console_, chromium, who, host);
  });

  after(async () => {
    await chromium?.stop();
    await console_?.stop();
  });

  afterEach(() => assert.deepEqual(wrong.flat(), []));

  let passed = 0;
  const pass = (seconds) => {
    passed += seconds;
    console_.pass(passed);
  };

  /** A page of somebody who has never been here. */
  const newcomer = async ({ origin } = console_, options = {}) => {
    const person = await chromium.person(origin, options);
    wrong.push(person.wrong);
    return person.page;
  };
  const isAt = (path) => (url) => url.pathname === path;
  const focused = (page) => page.evaluate(() => document.activeElement.id || document.activeElement.textContent.trim());

  /** Signs in by the form; where that leads is the caller's to wait for. */
  const knock = async (page, { email, password }, path = PROFILE) => {
    await page.goto(`/login?returnTo=${encodeURIComponent(path)}`);
    await type(page, page.getByLabel('E-mail'), email);
    await type(page, page.getByLabel('Password', { exact: true }), password);
    await page.keyboard.press('Enter');
  };
  const enter = async (page, who, path = PROFILE) => {
    await knock(page, who, path);
    await page.waitForURL(isAt(path));
  };

  test('the first owner sets everything up by the one-time link, and comes in', LIMIT, async () => {
    const empty = await startConsole({ owner: null });
    try {
      const page = await newcomer(empty);
      await page.goto(empty.setUpLink());
      await type(page, page.getByLabel('Name of the organization'), 'Acme');
      assert.equal(await page.getByLabel('Identifier').inputValue(), 'acme');
      await type(page, page.getByLabel('Your name'), 'Olive Owner');
      await type(page, page.getByLabel('E-mail'), OWNER.email);
      await type(page, page.getByLabel('Password', { exact: true }), OWNER.password);
      await press(page, button(page, 'Create the organization'));
      await page.getByText('Everything is set up. Sign in as the first owner.').waitFor();
      await enter(page, OWNER);
    } finally {
      await empty.stop();
    }
  });

  test('the second step is taken by a code and by a recovery code, after a wrong one', LIMIT, async () => {
    const page = await newcomer();
    await enter(page, BO, '/mfa/setup');
    await press(page, button(page, 'Use an authenticator app'));
    const secret = await page.locator('#secret').textContent();
    await type(page, page.getByLabel('Verification code'), codeOf(secret, passed));
    await page.keyboard.press('Enter');
    const recoveryCode = await page.locator('#codes li').first().textContent();

    const byApp = await newcomer();
    await knock(byApp, BO);
    await byApp.waitForURL(isAt('/login/verify'));
    const code = byApp.getByLabel('Verification code');
    await type(byApp, code, '000000');
    await byApp.keyboard.press('Enter');
    await byApp.locator('.field-error, .form-error').waitFor();
    // A code works once, so it is a later one.
    pass(MINUTE);
    await type(byApp, code, codeOf(secret, passed));
    await byApp.keyboard.press('Enter');
    await byApp.waitForURL(isAt(PROFILE));

    const byRecoveryCode = await newcomer();
    await knock(byRecoveryCode, BO);
    await byRecoveryCode.waitForURL(isAt('/login/verify'));
    await press(byRecoveryCode, byRecoveryCode.getByText('Use a recovery code'));
    await type(byRecoveryCode, byRecoveryCode.getByLabel('Recovery code', { exact: true }), recoveryCode.trim());
    await byRecoveryCode.keyboard.press('Enter');
    await byRecoveryCode.waitForURL(isAt(PROFILE));
  });

  test('a passkey is added, and signs in', LIMIT, async () => {
    const page = await newcomer();
    const device = await authenticator(page);
    await enter(page, CY, '/mfa/setup');
    await press(page, button(page, 'Add Passkey'));
    await press(page, page.getByRole('link', { name: 'I have saved them' }));
    await page.getByText('10 of them are left.').waitFor();
    // Where it is offered it would sign in by itself: it rests until the keyboard is at the button.
    await device.send('setAutomaticPresenceSimulation', { enabled: false });
    await page.context().clearCookies();
    await page.goto(`/login?returnTo=${encodeURIComponent(PROFILE)}`);
    await reach(page, button(page, 'Sign in with Passkey'));
    await device.send('setAutomaticPresenceSimulation', { enabled: true });
    await page.keyboard.press('Enter');
    await page.waitForURL(isAt(PROFILE));
  });

  test('a fresh proof is put off by Escape, which gives the keyboard back, and is given', LIMIT, async () => {
    const page = await newcomer();
    await enter(page, OWNER, '/mfa/setup');
    pass(11 * MINUTE);
    const [dialog, use] = [page.locator('#prove[open]'), button(page, 'Use an authenticator app')];
    await press(page, use);
    await dialog.waitFor();
    await page.keyboard.press('Escape');
    await dialog.waitFor({ state: 'detached' });
    assert.equal(await focused(page), 'Use an authenticator app');
    assert.equal(await page.locator('#secret').count(), 0, 'nothing was done');
    await press(page, use);
    await type(page, dialog.getByLabel('Password'), 'not this one');
    await page.keyboard.press('Enter');
    await dialog.locator('.field-error, .form-error').waitFor();
    await type(page, dialog.getByLabel('Password'), OWNER.password);
    await page.keyboard.press('Enter');
    await page.locator('#secret').waitFor({ state: 'attached' });
    await dialog.waitFor({ state: 'detached' });
  });

  for (const [decision, said, status] of [['Approve', 'The device is signed in', 200], ['Deny', 'The device was refused', 403]]) {
    test(`a device is decided about: ${decision}`, LIMIT, async () => {
      const { text } = await call('POST', `${console_.api}/v1/auth/device/authorize`);
      const { device_code, user_code } = JSON.parse(text);
      const page = await newcomer();
      await enter(page, OWNER, '/device');
      await type(page, page.getByLabel('Code', { exact: true }), user_code);
      await page.keyboard.press('Enter');
      await press(page, button(page, decision));
      await page.getByRole('heading', { name: said }).waitFor();
      const answer = await call('POST', `${console_.api}/v1/auth/device/token`, { body: { device_code } });
      assert.equal(answer.status, status, answer.text);
    });
  }

  test('an address and then a password are changed, and sign in', LIMIT, async () => {
    const moved = { email: 'dee.later@acme.example', password: PASSWORD };
    const page = await newcomer();
    await enter(page, DEE);
    await type(page, page.getByLabel('E-mail', { exact: true }), moved.email);
    await page.keyboard.press('Enter');
    await page.getByText(`${moved.email} waits to be confirmed`).waitFor();
    const letter = await newcomer();
    await letter.goto(await linkTo(console_, moved.email, '/verify-email'));
    await press(letter, button(letter, 'Confirm this address'));
    await letter.waitForURL(/\/login\?reason=email_changed/);
    await enter(letter, moved);

    await page.reload();
    assert.equal(await page.getByLabel('E-mail', { exact: true }).inputValue(), moved.email);
    await type(page, page.getByLabel('Current password'), PASSWORD);
    await type(page, page.getByLabel('New password'), CHOSEN);
    await press(page, button(page, 'Change Password'));
    await page.waitForURL(/\/login\?reason=password_changed/);
    await enter(page, { ...moved, password: CHOSEN });
  });

  test('one session is ended, the others go on, and the keyboard is at the heading of the list', LIMIT, async () => {
    const [lost, kept] = [await newcomer(console_, { userAgent: 'The lost one' }), await newcomer(console_, { userAgent: 'The kept one' })];
    for (const elsewhere of [lost, kept]) await enter(elsewhere, OWNER);
    const page = await newcomer();
    await enter(page, OWNER);
    const row = page.getByRole('row').filter({ hasText: 'The lost one' });
    await press(page, button(row, 'End'));
    await press(page, page.locator('#confirm-yes'));
    await row.waitFor({ state: 'detached' });
    assert.equal(await focused(page), 'sessions-heading');
    for (const elsewhere of [lost, kept]) await elsewhere.goto(PROFILE);
    assert.deepEqual([lost, kept].map((elsewhere) => new URL(elsewhere.url()).pathname), ['/login', PROFILE]);
  });
});
