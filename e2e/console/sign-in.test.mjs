// Coming in and going out, as a person does it: by keyboard, with a wrong password, after too long a pause.

import assert from 'node:assert/strict';
import { after, before, suite, test } from 'node:test';

import { faultsAtAnyWidth } from '../lib/axe.mjs';
import { OWNER, signIn, startChromium, startConsole } from '../lib/console.mjs';

const LIMIT = { timeout: 120_000 };

suite('signing in at the console', LIMIT, () => {
  let console_;
  let chromium;

  before(async () => {
    console_ = await startConsole({ config: 'security:\n  session:\n    timeout: 15m\n', movesTime: true });
    chromium = await startChromium();
  });

  after(async () => {
    await chromium?.stop();
    await console_?.stop();
  });

  test('by keyboard alone, after a wrong password', LIMIT, async () => {
    const { page, wrong } = await chromium.person(console_.origin);
    await page.goto('/settings/profile');
    await page.waitForURL(/\/login\?returnTo=/);
    // The browser gives the first field the focus a moment after the page is there.
    await page.locator('#email:focus').waitFor();
    await page.keyboard.type(OWNER.email);
    await page.keyboard.press('Tab');
    await page.keyboard.press('Tab');
    await page.keyboard.type('not this one');
    await page.keyboard.press('Enter');
    await page.getByRole('alert').getByText('is not right').waitFor();
    assert.equal(await page.getByLabel('E-mail').inputValue(), OWNER.email, 'what was typed stays');
    await page.getByLabel('Password', { exact: true }).fill(OWNER.password);
    await page.keyboard.press('Enter');
    await page.waitForURL((url) => url.pathname === '/settings/profile');
    assert.deepEqual(wrong, []);
  });

  test('the pages are reached by their names', LIMIT, async () => {
    const { page } = await chromium.person(console_.origin);
    await signIn(page);
    await page.keyboard.press('Control+k');
    await page.keyboard.type('profi');
    await page.keyboard.press('Enter');
    await page.waitForURL('**/settings/profile');
    await page.getByRole('button', { name: 'Go to…' }).click();
    await page.getByRole('option', { name: 'Audit log' }).click();
    await page.waitForURL('**/audit-log');
  });

  test('where no script runs, a form puts nothing of what was typed into the address', LIMIT, async () => {
    const { page } = await chromium.person(console_.origin, { javaScriptEnabled: false });
    const asked = [];
    page.on('request', (request) => asked.push(request.url()));
    for (const [path, fields] of [
      ['/login', { email: OWNER.email, password: OWNER.password }],
      ['/reset-password?token=none', { new_password: OWNER.password }],
      ['/register?organization=acme', { name: 'Kim', email: 'kim@acme.example', password: OWNER.password }],
    ]) {
      await page.goto(path);
      for (const [name, value] of Object.entries(fields)) await page.locator(`main input[name="${name}"]`).first().fill(value);
      const sent = page.waitForRequest((request) => request.method() === 'POST');
      await page.locator(`main input[name="${Object.keys(fields).at(-1)}"]`).first().press('Enter');
      assert.ok((await sent).postData().includes(encodeURIComponent(OWNER.password).replaceAll('%20', '+')), `the control: it was sent from ${path}`);
      await page.getByText('nothing was changed').waitFor();
    }
    const told = asked.filter((url) => ['email=', 'password=', 'acme.example'].some((part) => url.includes(part)));
    assert.deepEqual(told, []);
  });

  test('a change is sent with a token, and says that it was done', LIMIT, async () => {
    const { page, wrong } = await chromium.person(console_.origin);
    await signIn(page, OWNER, '/settings/profile');
    for (const name of ['Olive Owner', 'Olive O. Owner']) {
      const sent = page.waitForRequest((request) => request.method() === 'POST');
      await page.getByLabel('Name', { exact: true }).fill(name);
      await page.getByRole('button', { name: 'Save' }).click();
      assert.match((await sent).headers()['x-keeptrusts-csrf-token'], /^[\w-]{64}$/);
      await page.getByRole('status').getByText('Your profile was saved.').first().waitFor();
      assert.equal(await page.getByLabel('Name', { exact: true }).inputValue(), name);
    }
    assert.deepEqual(wrong, []);
  });

  test('sixteen idle minutes of fifteen lead back to the sign-in page, and from there to the page that was open', LIMIT, async () => {
    const { page } = await chromium.person(console_.origin);
    await page.clock.install();
    await signIn(page, OWNER, '/settings/profile');
    console_.pass(14 * 60 + 10);
    await page.clock.runFor('14:10');
    await page.getByText('You have not done anything for a while').waitFor();
    console_.pass(16 * 60);
    await page.clock.runFor('01:50');
    await page.waitForURL(/\/login\?returnTo=%2Fsettings%2Fprofile&reason=timeout/);
    await page.getByText('Your session is over').waitFor();
    console_.pass(0);
  });

  test('signing out ends the session at the server', LIMIT, async () => {
    const { page, context } = await chromium.person(console_.origin);
    await signIn(page);
    const cookies = await context.cookies();
    await page.locator('.me summary').click();
    await page.getByRole('button', { name: 'Sign out' }).click();
    await page.waitForURL('**/login');
    await context.addCookies(cookies);
    await page.goto('/overview');
    await page.waitForURL(/\/login/);
  });
});

suite('a deployment that nobody owns yet', LIMIT, () => {
  let console_;
  let chromium;

  before(async () => {
    console_ = await startConsole({ owner: null });
    chromium = await startChromium();
  });

  after(async () => {
    await chromium?.stop();
    await console_?.stop();
  });

  test('is set up by its one-time link, and the door closes behind the first owner', LIMIT, async () => {
    const { page, wrong } = await chromium.person(console_.origin);
    await page.goto(console_.setUpLink());
    assert.equal(new URL(page.url()).search, '', 'the token has left the address');
    assert.deepEqual(await faultsAtAnyWidth(page, '/setup'), []);
    await page.getByLabel('Name of the organization').fill('Acme & Sons');
    assert.equal(await page.getByLabel('Identifier').inputValue(), 'acme-sons');
    await page.getByLabel('Your name').fill('Olive Owner');
    await page.getByLabel('E-mail').fill(OWNER.email);
    await page.getByLabel('Password', { exact: true }).fill('password');
    await page.getByText('Very weak').waitFor();
    await page.getByRole('button', { name: 'Create the organization' }).click();
    await page.locator('.field-error').waitFor();
    await page.getByLabel('Password', { exact: true }).fill(OWNER.password);
    await page.getByRole('button', { name: 'Create the organization' }).click();
    await page.waitForURL(/\/login/);
    await signIn(page);
    await page.goto('/setup');
    await page.waitForURL((url) => url.pathname !== '/setup');
    assert.deepEqual(wrong, []);
  });
});
