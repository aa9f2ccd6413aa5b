// Getting in for the first time and getting back in: by a forgotten password, by registering oneself, by adding a password to
// an account that came through an identity provider.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { after, before, suite, test } from 'node:test';

import { OWNER, hasComeIn, knock, linkTo, signIn, startChromium, startConsole } from '../lib/console.mjs';
import { CLIENT, proveAt, startOpenId } from '../lib/openid.mjs';
import { ktBinary } from '../lib/places.mjs';

const LIMIT = { timeout: 120_000 };
const CHOSEN = 'vexing otter plumbs 4 Azure';
const KIM = { email: 'kim@acme.example', password: 'quiet Harbor 3 lantern, plum' };

suite('the ways in and back', LIMIT, () => {
  let console_;
  let chromium;
  let openid;

  before(async () => {
    console_ = await startConsole({ config: 'sso:\n  allow_private: true\n' });
    openid = await startOpenId(console_.origin);
    chromium = await startChromium();
  });

  after(async () => {
    await chromium?.stop();
    await openid?.stop();
    await console_?.stop();
  });

  const fillSignIn = async (page, { email, password }) => {
    await page.goto('/login');
    await page.getByLabel('E-mail').fill(email);
    await page.getByLabel('Password', { exact: true }).fill(password);
    await page.getByRole('button', { name: 'Sign in', exact: true }).click();
  };

  test('Forgot Password: a link by mail leads to another one, once, and the old one is worth nothing', LIMIT, async () => {
    const { page: elsewhere } = await chromium.person(console_.origin);
    await signIn(elsewhere);
    const { page, wrong } = await chromium.person(console_.origin);
    await page.goto('/login');
    await page.getByRole('link', { name: 'Forgot Password' }).click();
    await page.getByLabel('E-mail').fill(OWNER.email);
    await page.locator('main form button').first().click();
    const link = await linkTo(console_, OWNER.email, '/reset-password');
    await page.goto(link);
    assert.equal(new URL(page.url()).search, '', 'the token has left the address');
    await page.getByLabel('New password').fill('acme');
    await page.locator('main form button:not([type="button"])').click();
    await page.locator('.field-error').waitFor();
    await elsewhere.goto('/settings/profile');
    assert.equal(new URL(elsewhere.url()).pathname, '/settings/profile', 'nothing has happened yet');
    await page.getByLabel('New password').fill(CHOSEN);
    await page.locator('main form button:not([type="button"])').click();
    await page.waitForURL(/\/login\?reason=password_changed/);
    await elsewhere.goto('/settings/profile');
    await elsewhere.waitForURL(/\/login/);
    await fillSignIn(page, OWNER);
    await page.getByRole('alert').getByText('is not right').waitFor();
    await knock(console_, chromium, { ...OWNER, password: CHOSEN });
    await page.goto(link);
    await page.getByLabel('New password').fill(`${CHOSEN} again`);
    await page.locator('main form button:not([type="button"])').click();
    await page.locator('.form-error, .field-error').first().waitFor();
    await knock(console_, chromium, { ...OWNER, password: CHOSEN });
    assert.deepEqual(wrong, []);
  });

  test('somebody registers, confirms the address, waits, and is let in by an administrator', LIMIT, async () => {
    const { page: owner } = await knock(console_, chromium, { ...OWNER, password: CHOSEN });
    const { page, wrong } = await chromium.person(console_.origin);
    const register = async () => {
      await page.goto('/register?organization=acme');
      await page.getByLabel('Your name').fill('Kim');
      await page.getByLabel('E-mail').fill(KIM.email);
      await page.getByLabel('Password', { exact: true }).fill(KIM.password);
      await page.locator('main form button:not([type="button"])').click();
    };
    await register();
    await page.locator('.form-error').waitFor();
    await owner.goto('/settings/organization');
    const registration = owner.locator('form[hx-post="/settings/organization/registration"]');
    await registration.getByRole('switch', { name: /Self-registration/ }).check();
    await registration.getByRole('button', { name: 'Save' }).click();
    await owner.getByText('Registration was changed.').waitFor();

    await register();
    await page.waitForURL('**/verify-email');
    await fillSignIn(page, KIM);
    await page.waitForURL('**/verify-email', { timeout: 5000 });
    await page.goto(await linkTo(console_, KIM.email, '/verify-email'));
    await page.locator('main form button').first().click();
    await page.waitForURL('**/pending');
    await fillSignIn(page, KIM);
    await page.waitForURL('**/pending');

    await owner.goto('/settings/members');
    await owner.locator('tr', { hasText: KIM.email }).getByRole('button', { name: 'Approve…' }).click();
    await owner.locator('dialog[open]').getByRole('button', { name: 'Approve' }).click();
    await owner.locator('tr', { hasText: KIM.email }).getByRole('link').first().waitFor();
    const { page: kim } = await knock(console_, chromium, KIM);
    assert.ok(hasComeIn(kim.url()), kim.url());
    assert.deepEqual(wrong, []);
  });

  test('Add Password: who came through a provider can sign in without it afterwards', LIMIT, async () => {
    const { page: owner } = await knock(console_, chromium, { ...OWNER, password: CHOSEN });
    const place = ['--data-dir', join(console_.directory, 'data'), '--organization', 'acme'];
    execFileSync(ktBinary(), ['admin', 'domain', 'verify', 'acme.example', ...place]);
    await owner.goto('/settings/security/sso');
    await owner.getByLabel('Metadata URL or issuer').fill(`${openid.issuer}/.well-known/openid-configuration`);
    await owner.getByLabel('Client ID').fill(CLIENT.id);
    await owner.getByLabel('Client secret').fill(CLIENT.secret);
    await owner.locator('#oidc').getByRole('button', { name: 'Save connection' }).click();
    await owner.getByRole('status').getByText('The connection is saved').first().waitFor();
    await owner.getByRole('switch', { name: /Make accounts at the first sign-in/ }).check();
    await owner.getByRole('button', { name: 'Save', exact: true }).click();
    await owner.getByRole('status').getByText('Saved.').first().waitFor();
    await owner.getByRole('button', { name: 'Test' }).click();
    await proveAt(owner, openid.issuer, 'trial');
    await owner.getByRole('link', { name: 'Single sign-on', exact: true }).click();
    await owner.getByRole('button', { name: 'Turn on' }).click();
    await owner.getByText('Turned on').waitFor();

    const { page: ada } = await chromium.person(console_.origin);
    await ada.goto('/login?returnTo=%2Fsettings%2Fprofile');
    await ada.getByRole('link', { name: 'Sign in with SSO' }).click();
    await ada.getByLabel('Organization').fill('acme');
    await ada.getByRole('button', { name: 'Continue' }).click();
    await proveAt(ada, openid.issuer, 'ada');
    await ada.waitForURL((url) => url.pathname === '/settings/profile');
    const { page: before } = await chromium.person(console_.origin);
    await fillSignIn(before, { email: 'ada@acme.example', password: KIM.password });
    await before.getByRole('alert').getByText('is not right').waitFor();
    const addPassword = async () => {
      await ada.getByLabel('New password').fill(KIM.password);
      await ada.getByRole('button', { name: 'Add Password' }).click();
    };
    await addPassword();
    // This provider does not say when it asked who somebody is, so it has to ask again.
    await ada.getByRole('button', { name: 'Go to the provider' }).click();
    await ada.waitForURL((url) => url.href.startsWith(`${openid.issuer}/interaction/`));
    await ada.locator('input[name=login]').waitFor();
    await proveAt(ada, openid.issuer, 'ada');
    await ada.waitForURL((url) => url.origin === console_.origin && url.pathname === '/settings/profile');
    await ada.getByRole('status').getByText('It is confirmed that it is you').first().waitFor();
    await addPassword();
    await ada.waitForURL(/\/login\?reason=password_changed/);
    const { page: afterwards } = await knock(console_, chromium, { email: 'ada@acme.example', password: KIM.password });
    assert.ok(hasComeIn(afterwards.url()), afterwards.url());
  });
});
