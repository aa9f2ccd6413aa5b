// Second factors in a real Chromium: its virtual authenticator makes the passkeys, oathtool the codes.

import assert from 'node:assert/strict';
import { after, before, beforeEach, suite, test } from 'node:test';

import { authenticator, codeOf } from '../lib/authenticator.mjs';
import { OWNER, hasComeIn, signIn, signOut, startChromium, startConsole } from '../lib/console.mjs';

const LIMIT = { timeout: 120_000 };

suite('second factors at the console', LIMIT, () => {
  let console_;
  let chromium;

  before(async () => {
    chromium = await startChromium();
  });
  beforeEach(async () => {
    await console_?.stop();
    console_ = await startConsole();
  });
  after(async () => {
    await chromium?.stop();
    await console_?.stop();
  });

  const savedCodes = async (page) => {
    await page.getByRole('heading', { name: 'Save your recovery codes' }).waitFor();
    const codes = await page.locator('#codes li').allTextContents();
    assert.equal(new Set(codes).size, 10);
    await page.getByRole('link', { name: 'I have saved them' }).click();
    return codes;
  };

  const addPasskey = async (page) => {
    await page.goto('/mfa/setup');
    await page.getByRole('button', { name: 'Add Passkey' }).click();
    return savedCodes(page);
  };

  /** Signs out, and lets the passkey rest meanwhile: it would sign in by itself on the page that signing out leads to. */
  const leave = async (page, device) => {
    await device.send('setAutomaticPresenceSimulation', { enabled: false });
    await signOut(page);
    await page.goto('about:blank');
    await device.send('setAutomaticPresenceSimulation', { enabled: true });
  };

  test('a passkey is added, signs in by itself, and is the second step of a password', LIMIT, async () => {
    const { page, wrong } = await chromium.person(console_.origin);
    const device = await authenticator(page);
    await signIn(page);
    await addPasskey(page);
    await page.getByText('Recovery codes').waitFor();
    const credentials = await device.credentials();
    assert.deepEqual(credentials.map((one) => [one.rpId, one.isResidentCredential]), [['localhost', true]]);

    await leave(page, device);
    await page.goto('/login?returnTo=/settings/profile');
    await page.waitForURL((url) => url.pathname === '/settings/profile', { timeout: 15_000 });

    await leave(page, device);
    await device.send('setUserVerified', { isUserVerified: false });
    await page.goto('/login');
    await page.getByRole('button', { name: 'Sign in with Passkey' }).click();
    await page.getByRole('alert').getByText('did not give a passkey').waitFor();
    await device.send('setUserVerified', { isUserVerified: true });

    await device.send('setAutomaticPresenceSimulation', { enabled: false });
    await page.goto('/login');
    await page.getByLabel('E-mail').fill(OWNER.email);
    await page.getByLabel('Password', { exact: true }).fill(OWNER.password);
    await page.getByRole('button', { name: 'Sign in', exact: true }).click();
    await page.waitForURL('**/login/verify**');
    await device.send('setAutomaticPresenceSimulation', { enabled: true });
    await page.getByRole('button', { name: 'Use a passkey' }).click();
    await page.waitForURL(hasComeIn);
    assert.deepEqual(wrong, []);
  });

  test('a signature that is not the key’s own lets nobody in', LIMIT, async () => {
    const { page } = await chromium.person(console_.origin);
    const device = await authenticator(page);
    await signIn(page);
    await addPasskey(page);
    await leave(page, device);
    for (const bits of [{ isBogusSignature: true }, { isBadUV: true }, { isBadUP: true }]) {
      await device.send('setAutomaticPresenceSimulation', { enabled: false });
      await page.goto('/login');
      await device.send('setResponseOverrideBits', { isBogusSignature: false, isBadUV: false, isBadUP: false, ...bits });
      await device.send('setAutomaticPresenceSimulation', { enabled: true });
      await page.getByRole('button', { name: 'Sign in with Passkey' }).click();
      await page.getByRole('alert').waitFor();
      assert.equal(new URL(page.url()).pathname, '/login', JSON.stringify(bits));
    }
    await device.send('setResponseOverrideBits', { isBogusSignature: false, isBadUV: false, isBadUP: false });
    await page.goto('/login');
    await page.waitForURL(hasComeIn);
  });

  test('an authenticator app is added by its code, asked for at each sign-in, and a recovery code stands in for it', LIMIT, async () => {
    const { page, wrong } = await chromium.person(console_.origin);
    await signIn(page);
    await page.goto('/mfa/setup');
    await page.getByRole('button', { name: 'Use an authenticator app' }).click();
    const secret = await page.locator('#secret').textContent();
    assert.match(secret, /^[A-Z2-7]{32}$/, '160 bits');
    await page.getByLabel('Verification code').fill('000000');
    await page.getByRole('button', { name: 'Enable MFA' }).click();
    await page.locator('.field-error, .form-error').waitFor();
    const first = codeOf(secret);
    await page.getByLabel('Verification code').fill(first);
    await page.getByRole('button', { name: 'Enable MFA' }).click();
    const codes = await savedCodes(page);

    const enter = async () => {
      await signOut(page);
      await page.getByLabel('E-mail').fill(OWNER.email);
      await page.getByLabel('Password', { exact: true }).fill(OWNER.password);
      await page.getByRole('button', { name: 'Sign in', exact: true }).click();
      await page.waitForURL('**/login/verify**');
    };
    await enter();
    await page.getByLabel('Verification code').fill(first);
    await page.getByRole('button', { name: 'Verify' }).click();
    await page.locator('.field-error, .form-error').waitFor();
    assert.match(page.url(), /login\/verify/, 'a code works once');
    await page.getByText('Use a recovery code').click();
    await page.getByLabel('Recovery code', { exact: true }).fill(codes[0]);
    await page.getByRole('button', { name: 'Use this code' }).click();
    await page.waitForURL(hasComeIn);
    await page.goto('/mfa/setup');
    await page.getByText('9 of them are left.').waitFor();

    await enter();
    await page.getByText('Use a recovery code').click();
    await page.getByLabel('Recovery code', { exact: true }).fill(codes[0]);
    await page.getByRole('button', { name: 'Use this code' }).click();
    await page.locator('.field-error, .form-error').waitFor();
    assert.deepEqual(wrong, []);
  });
});
