// Single sign-on with a real SAML provider on another site: set up on the page, tried out, gone through by a form that is posted
// across sites, confirmed again, ended by the provider.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { after, before, suite, test } from 'node:test';

import { faultsAtAnyWidth } from '../lib/axe.mjs';
import { OWNER, signIn, startChromium, startConsole } from '../lib/console.mjs';
import { ktBinary } from '../lib/places.mjs';
import { proveAt, startSimpleSamlPhp } from '../lib/simplesamlphp.mjs';

const LIMIT = { timeout: 120_000 };
const PAGE = '/settings/security/sso';

const person = (name) => ({
  password: `secret of ${name}`,
  attributes: { email: [`${name}@acme.example`], name: [`Somebody called ${name}`], groups: ['staff'] },
});
const PEOPLE = { ada: person('ada'), grace: person('grace'), trial: person('trial') };

suite('single sign-on by SAML', LIMIT, () => {
  let console_;
  let chromium;
  let idp;

  before(async () => {
    console_ = await startConsole({ config: 'sso:\n  allow_private: true\n', movesTime: true });
    idp = await startSimpleSamlPhp(PEOPLE, console_.time);
    chromium = await startChromium();
    const place = ['--data-dir', join(console_.directory, 'data'), '--organization', 'acme'];
    execFileSync(ktBinary(), ['admin', 'domain', 'verify', 'acme.example', ...place]);
  });

  after(async () => {
    await chromium?.stop();
    idp?.stop();
    await console_?.stop();
  });

  const comeIn = async (name) => {
    const { page, context } = await chromium.person(console_.origin);
    await page.goto('/login/sso?organization=acme&returnTo=%2Fsettings%2Fprofile');
    await page.getByRole('button', { name: 'Continue' }).click();
    await proveAt(page, idp, name, PEOPLE[name].password);
    await page.waitForURL((url) => url.origin === console_.origin);
    return { page, context };
  };

  test('an owner sets a provider up by its metadata, tries it out and turns it on', LIMIT, async () => {
    const { page } = await chromium.person(console_.origin);
    await signIn(page, OWNER, PAGE);
    const saml = page.locator('#saml');
    await saml.getByLabel('Metadata URL', { exact: true }).fill(idp.metadataUrl);
    await saml.getByRole('switch', { name: /Sign our requests/ }).check();
    await saml.getByRole('button', { name: 'Save connection' }).click();
    await page.getByRole('status').getByText('The connection is saved').first().waitFor();
    await saml.getByText('Valid until').first().waitFor();

    const [entityId, acsUrl, logoutUrl] = await Promise.all(
      ['#saml-entity', '#saml-acs', '#saml-logout'].map((field) => page.locator(field).innerText()),
    );
    const metadata = await (await fetch(entityId)).text();
    const certificate = /<ds:X509Certificate>([^<]+)</.exec(metadata)[1];
    idp.trust({ entityId, acsUrl, logoutUrl, certificate });

    await page.getByRole('switch', { name: /Make accounts at the first sign-in/ }).check();
    await page.getByRole('button', { name: 'Save', exact: true }).click();
    await page.getByRole('status').getByText('Saved.').first().waitFor();
    await page.getByRole('button', { name: 'Test' }).click();
    await proveAt(page, idp, 'trial', PEOPLE.trial.password);
    await page.getByText('a new one would be made').waitFor();
    await page.getByText('trial@acme.example').first().waitFor();
    const found = await faultsAtAnyWidth(page, 'what the trial found');
    await page.getByRole('link', { name: 'Single sign-on', exact: true }).click();
    await page.getByRole('button', { name: 'Turn on' }).click();
    await saml.getByText('Turned on').waitFor();
    found.push(...(await faultsAtAnyWidth(page, 'the connection')));
    assert.deepEqual(found, []);
  });

  test('somebody new comes in by a form that is posted from another site', LIMIT, async () => {
    const { page, context } = await comeIn('ada');
    assert.equal(new URL(page.url()).pathname, '/settings/profile');
    assert.equal(await page.getByLabel('Name', { exact: true }).inputValue(), 'Somebody called ada');
    const cookies = await context.cookies(console_.origin);
    const cookie = (name) => cookies.find((found) => found.name === name);
    assert.equal(cookie('kt_session').httpOnly && cookie('kt_session').sameSite === 'Lax', true);
    assert.equal(cookie('kt_sso').httpOnly && cookie('kt_sso').secure && cookie('kt_sso').sameSite === 'None', true);
  });

  test('a response that another browser brings signs nobody in, and the right one still does', LIMIT, async () => {
    const { page, context } = await chromium.person(console_.origin);
    let posted;
    await context.route(/\/sso\/saml\/acme\/acs/, (route) => {
      posted = route.request().postData();
      return route.abort();
    });
    await page.goto('/login/sso?organization=acme');
    await page.getByRole('button', { name: 'Continue' }).click();
    await proveAt(page, idp, 'grace', PEOPLE.grace.password).catch(() => {});
    while (!posted) await page.waitForTimeout(50);
    const post = (request) =>
      request.post(`${console_.origin}/sso/saml/acme/acs`, {
        data: posted,
        headers: { 'content-type': 'application/x-www-form-urlencoded' },
        maxRedirects: 0,
      });
    const { context: other } = await chromium.person(console_.origin);
    const refused = await post(other.request);
    assert.deepEqual([refused.status(), refused.headers().location], [303, '/login?reason=sso_refused']);
    const taken = await post(context.request);
    assert.match(taken.headers().location, /^\/sso\/saml\/arrive\?ticket=/);
  });

  test('a change that matters is confirmed by the provider, which is made to ask again', LIMIT, async () => {
    const { page: owner } = await chromium.person(console_.origin);
    await signIn(owner, OWNER, PAGE);
    // Not everybody makes keys.
    await owner.getByLabel('Roles of groups').fill('staff = admin');
    await owner.getByRole('button', { name: 'Save', exact: true }).click();
    await owner.getByRole('status').getByText('Saved.').first().waitFor();
    const { page } = await comeIn('grace');
    const makeKey = async () => {
      await page.goto('/settings/access-keys');
      await page.getByRole('button', { name: 'New key' }).click();
      await page.locator('dialog[open]').getByLabel('Name').fill('Mine');
      await page.keyboard.press('Enter');
    };
    await makeKey();
    await page.locator('#secret').waitFor();
    console_.pass(11 * 60);
    await makeKey();
    await page.getByRole('button', { name: 'Go to the provider' }).click();
    // It still knows her, and asks all the same.
    await proveAt(page, idp, 'grace', PEOPLE.grace.password);
    await page.waitForURL((url) => url.origin === console_.origin && url.pathname === '/settings/access-keys');
    await page.getByRole('status').getByText('It is confirmed that it is you').first().waitFor();
    await makeKey();
    await page.locator('#secret').waitFor();
  });

  test('a logout at the provider ends the session here, and the provider hears of it', LIMIT, async () => {
    const { page } = await comeIn('ada');
    const answered = page.waitForRequest((request) => request.url().includes('SAMLResponse='));
    const end = `${idp.origin}/saml2/idp/SingleLogoutService.php?ReturnTo=${encodeURIComponent(`${idp.origin}/`)}`;
    await page.goto(end);
    assert.match((await answered).url(), /SigAlg=.*Signature=/);
    await page.waitForURL((url) => url.origin === idp.origin && !url.search.includes('SAMLResponse'));
    await page.goto(`${console_.origin}/settings/profile`);
    await page.waitForURL(/\/login/);
  });
});
