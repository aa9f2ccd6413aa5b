// Single sign-on with a real OIDC provider: set up on the page, tried out, gone through with groups, confirmed again, ended by the
// provider.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { after, before, suite, test } from 'node:test';

import { faultsAtAnyWidth } from '../lib/axe.mjs';
import { OWNER, signIn, startChromium, startConsole } from '../lib/console.mjs';
import { CLIENT, proveAt, startOpenId } from '../lib/openid.mjs';
import { ktBinary } from '../lib/places.mjs';

const LIMIT = { timeout: 120_000 };
const PAGE = '/settings/security/sso';

suite('single sign-on by OIDC', LIMIT, () => {
  let console_;
  let chromium;
  let openid;

  before(async () => {
    console_ = await startConsole({ config: 'sso:\n  allow_private: true\n' });
    openid = await startOpenId(console_.origin);
    chromium = await startChromium();
    const place = ['--data-dir', join(console_.directory, 'data'), '--organization', 'acme'];
    execFileSync(ktBinary(), ['admin', 'domain', 'verify', 'acme.example', ...place]);
  });

  after(async () => {
    await chromium?.stop();
    await openid?.stop();
    await console_?.stop();
  });

  const comeIn = async (login, path = '/settings/profile') => {
    const { page } = await chromium.person(console_.origin);
    await page.goto(`/login?returnTo=${encodeURIComponent(path)}`);
    await page.getByRole('link', { name: 'Sign in with SSO' }).click();
    await page.getByLabel('Organization').fill('acme');
    await page.getByRole('button', { name: 'Continue' }).click();
    await proveAt(page, openid.issuer, login);
    await page.waitForURL((url) => url.origin === console_.origin);
    return page;
  };

  test('an owner sets a provider up, tries it out and turns it on', LIMIT, async () => {
    const { page } = await chromium.person(console_.origin);
    await signIn(page, OWNER, PAGE);
    await page.getByLabel('Metadata URL or issuer').fill(`${openid.issuer}/.well-known/openid-configuration`);
    await page.getByLabel('Client ID').fill(CLIENT.id);
    await page.getByLabel('Client secret').fill(CLIENT.secret);
    await page.locator('#oidc').getByRole('button', { name: 'Save connection' }).click();
    await page.getByRole('status').getByText('The connection is saved').first().waitFor();
    await page.getByRole('switch', { name: /Make accounts at the first sign-in/ }).check();
    await page.getByRole('button', { name: 'Save', exact: true }).click();
    await page.getByRole('status').getByText('Saved.').first().waitFor();

    await page.getByRole('button', { name: 'Test' }).click();
    await proveAt(page, openid.issuer, 'trial');
    await page.getByText('a new one would be made').waitFor();
    await page.getByText('trial@acme.example').first().waitFor();
    const found = await faultsAtAnyWidth(page, 'what the trial found');
    await page.getByRole('link', { name: 'Single sign-on', exact: true }).click();
    await page.getByRole('button', { name: 'Turn on' }).click();
    await page.getByText('Turned on').waitFor();
    found.push(...(await faultsAtAnyWidth(page, 'the connection')));
    assert.deepEqual(found, []);
  });

  test('somebody new comes in and is led to the page that they asked for', LIMIT, async () => {
    const page = await comeIn('ada');
    assert.equal(new URL(page.url()).pathname, '/settings/profile');
    assert.equal(await page.getByLabel('Name', { exact: true }).inputValue(), 'Somebody called ada');
    const cookies = await page.context().cookies(console_.origin);
    const session = cookies.find(({ name }) => name === 'kt_session');
    assert.equal(session.httpOnly && session.sameSite === 'Lax', true);
    assert.equal(await page.evaluate(() => document.cookie + JSON.stringify(localStorage)), '{}');
  });

  test('a group of the provider gives its role, and takes it away', LIMIT, async () => {
    const { page: owner } = await chromium.person(console_.origin);
    await signIn(owner, OWNER, PAGE);
    await owner.getByLabel('Roles of groups').fill('ops = admin');
    await owner.getByRole('button', { name: 'Save', exact: true }).click();
    await owner.getByRole('status').getByText('Saved.').first().waitFor();
    const invite = (page) => page.getByRole('button', { name: 'Invite' }).count();
    openid.groups.mary = ['staff', 'ops'];
    assert.notEqual(await invite(await comeIn('mary', '/settings/members')), 0);
    delete openid.groups.mary;
    assert.equal(await invite(await comeIn('mary', '/settings/members')), 0);
  });

  test('a change that matters is confirmed by the provider, which asks again', LIMIT, async () => {
    // Not everybody makes keys.
    openid.groups.linus = ['ops'];
    const page = await comeIn('linus', '/settings/access-keys');
    const makeKey = async () => {
      await page.getByRole('button', { name: 'New key' }).click();
      await page.locator('dialog[open]').getByLabel('Name').fill('Mine');
      await page.keyboard.press('Enter');
    };
    // The provider does not say when it asked, so that a sign-in alone is no proof of now; nor is a second one.
    for (const again of [false, true]) {
      if (again) {
        await page.context().clearCookies({ domain: 'localhost', name: 'kt_session' });
        await page.goto('/login/sso?organization=acme&returnTo=%2Fsettings%2Faccess-keys');
        await page.getByRole('button', { name: 'Continue' }).click();
        await page.waitForURL((url) => url.origin === console_.origin && url.pathname === '/settings/access-keys');
      }
      await makeKey();
      await page.getByRole('button', { name: 'Go to the provider' }).waitFor();
      if (!again) await page.reload();
    }
    await page.getByRole('button', { name: 'Go to the provider' }).click();
    await page.waitForURL((url) => url.href.startsWith(`${openid.issuer}/interaction/`));
    await page.locator('input[name=login]').waitFor();
    await proveAt(page, openid.issuer, 'linus');
    await page.waitForURL((url) => url.origin === console_.origin && url.pathname === '/settings/access-keys');
    await page.getByRole('status').getByText('It is confirmed that it is you').first().waitFor();
    await makeKey();
    await page.locator('#secret').waitFor();
  });

  test('a logout at the provider ends the session here at the next request', LIMIT, async () => {
    const page = await comeIn('grace');
    await page.goto(`${openid.issuer}/session/end`);
    await page.getByRole('button', { name: /Yes/ }).click();
    await page.getByText(/success/i).first().waitFor();
    await page.goto(`${console_.origin}/settings/profile`);
    await page.waitForURL(/\/login/);
  });
});
