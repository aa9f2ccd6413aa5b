// Second factors in a real Chromium: its virtual authenticator makes the passkeys, oathtool the codes.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, before, beforeEach, suite, test } from 'node:test';

import { authenticator, codeOf, scan } from '../lib/authenticator.mjs';
import { OWNER, comeToOffer, hasComeIn, signIn, signOut, startChromium, startConsole } from '../lib/console.mjs';
import { until } from '../lib/poll.mjs';

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

  test('recovery codes are shown once, to be copied, saved and printed, and a second factor is advised', LIMIT, async () => {
    const { page } = await chromium.person(console_.origin, { permissions: ['clipboard-read', 'clipboard-write'] });
    await authenticator(page);
    await page.addInitScript(() => {
      window.print = () => document.body.classList.add('was-printed');
    });
    await signIn(page);
    await page.goto('/mfa/setup');
    const [first, then] = [page.getByRole('button', { name: 'Add Passkey' }), page.getByRole('button', { name: 'Use an authenticator app' })];
    assert.ok((await first.boundingBox()).y < (await then.boundingBox()).y, 'a passkey comes first');
    await first.click();
    await page.getByRole('heading', { name: 'Save your recovery codes' }).waitFor();
    const codes = await page.locator('#codes li').allTextContents();
    await page.getByRole('button', { name: 'Copy' }).click();
    const copied = await until('a copy', 5_000, () => page.evaluate(() => navigator.clipboard.readText()));
    assert.deepEqual(codes.filter((code) => !copied.includes(code)), []);
    const download = page.waitForEvent('download');
    await page.getByRole('button', { name: 'Download' }).click();
    const saved = readFileSync(await (await download).path(), 'utf8');
    assert.deepEqual(codes.filter((code) => !saved.includes(code)), []);
    await page.getByRole('button', { name: 'Print' }).click();
    await page.locator('body.was-printed').waitFor();
    await page.getByRole('link', { name: 'I have saved them' }).click();
    await page.getByText('10 of them are left.').waitFor();
    assert.equal(await page.locator('#codes').count(), 0, 'never again');
    await page.getByText('One factor can get lost: add a second one.').waitFor();
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
    await comeToOffer(page);
    await page.waitForURL(hasComeIn);
  });

  test('an authenticator app is added by its code, asked for at each sign-in, and a recovery code stands in for it', LIMIT, async () => {
    const { page, wrong } = await chromium.person(console_.origin);
    await signIn(page);
    await page.goto('/mfa/setup');
    await page.getByRole('button', { name: 'Use an authenticator app' }).click();
    const secret = await page.locator('#secret').textContent();
    assert.match(secret, /^[A-Z2-7]{32}$/, '160 bits');
    const scanned = new URL(await scan(page.locator('.qr')));
    assert.deepEqual([scanned.protocol, scanned.host, scanned.searchParams.get('secret')], ['otpauth:', 'totp', secret]);
    const settings = ['issuer', 'algorithm', 'digits', 'period'].map((name) => scanned.searchParams.get(name));
    assert.deepEqual(settings, ['Keeptrusts', 'SHA1', '6', '30']);
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
