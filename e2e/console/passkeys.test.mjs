// Passkeys that are not what they should be, in a real Chromium, and a second verifier's opinion of each ceremony: what
// the console takes, @simplewebauthn/server takes, and what the console refuses, it refuses.

import assert from 'node:assert/strict';
import { after, before, beforeEach, suite, test } from 'node:test';

import { verifyAuthenticationResponse, verifyRegistrationResponse } from '@simplewebauthn/server';

import { authenticator } from '../lib/authenticator.mjs';
import { clientData, startPhisher } from '../lib/ceremonies.mjs';
import { OWNER, comeToOffer, hasComeIn, joinAs, signIn, signOut, startChromium, startConsole } from '../lib/console.mjs';
import { until } from '../lib/poll.mjs';

const LIMIT = { timeout: 120_000 };
const JO = { email: 'jo@acme.example', password: 'quiet Harbor 3 lantern, plum' };
const SHOWN = '**/login/passkey';

suite('passkeys that are examined', LIMIT, () => {
  let console_;
  let chromium;
  let phisher;

  before(async () => {
    chromium = await startChromium();
    phisher = await startPhisher();
  });
  beforeEach(async () => {
    await console_?.stop();
    console_ = await startConsole();
  });
  after(async () => {
    phisher?.stop();
    await chromium?.stop();
    await console_?.stop();
  });

  /** Somebody signed in who has just added a passkey, and what was said in doing so. */
  const holder = async (who = OWNER) => {
    const { page } = await chromium.person(console_.origin);
    const device = await authenticator(page);
    await signIn(page, who);
    const said = ceremony(page, '/mfa/setup/passkey');
    await page.goto('/mfa/setup');
    await page.getByRole('button', { name: 'Add Passkey' }).click();
    await page.getByRole('heading', { name: 'Save your recovery codes' }).waitFor();
    return { page, device, added: await said };
  };

  /** Comes to the sign-in page, where the passkey answers the offer; whether it led in, and what was said. */
  const comeIn = async ({ page, device }) => {
    await page.goto('about:blank');
    await device.send('setAutomaticPresenceSimulation', { enabled: true });
    const said = ceremony(page, '/login/passkey');
    await comeToOffer(page);
    const shown = await said;
    await Promise.race([page.waitForURL(hasComeIn), page.getByRole('alert').waitFor()]);
    const isIn = hasComeIn(page.url());
    // Behind a refusal the page offers again, which a device without a fault would answer.
    if (!isIn) await page.goto('about:blank');
    return { isIn, ...shown };
  };

  /** Signs out, and keeps the passkey away from the offer of the page that comes then. */
  const leave = async ({ page, device }) => {
    await device.send('setAutomaticPresenceSimulation', { enabled: false });
    await signOut(page);
  };

  test('a second verifier is of one mind with the console about every ceremony', LIMIT, async () => {
    const owner = await holder();
    const expected = (said) => ({
      response: said.credential,
      expectedChallenge: said.challenge,
      expectedOrigin: console_.origin,
      expectedRPID: 'localhost',
      requireUserVerification: true,
    });
    const registration = await verifyRegistrationResponse(expected(owner.added));
    assert.ok(registration.verified);
    const { credential } = registration.registrationInfo;
    const opinion = async (said) => {
      try {
        return (await verifyAuthenticationResponse({ ...expected(said), credential })).verified;
      } catch {
        return false;
      }
    };
    await leave(owner);
    const faults = [{}, { isBogusSignature: true }, { isBadUV: true }, { isBadUP: true }, {}];
    for (const fault of faults) {
      const bits = { isBogusSignature: false, isBadUV: false, isBadUP: false, ...fault };
      await owner.device.send('setResponseOverrideBits', bits);
      const shown = await comeIn(owner);
      const isGood = Object.keys(fault).length === 0;
      assert.deepEqual([shown.isIn, await opinion(shown)], [isGood, isGood], JSON.stringify(fault));
      if (shown.isIn) await leave(owner);
    }
  });

  test('an answer that another origin asked for lets nobody in', LIMIT, async () => {
    const owner = await holder();
    await leave(owner);
    const { page: lure } = await chromium.person(phisher.origin);
    const copied = await authenticator(lure, { credentials: await owner.device.credentials() });
    await lure.goto(phisher.origin);
    let answered = 0;
    await owner.page.route(SHOWN, async (route) => {
      const fields = new URLSearchParams(route.request().postData());
      const { challenge } = clientData(JSON.parse(fields.get('credential')));
      const relayed = await lure.evaluate(getCredential, challenge);
      assert.equal(clientData(relayed).origin, phisher.origin, 'the browser signs for the page that asks');
      fields.set('credential', JSON.stringify(relayed));
      answered += 1;
      await route.continue({ postData: fields.toString() });
    });
    assert.equal((await comeIn(owner)).isIn, false);
    assert.equal(answered, 1);
    await owner.page.unroute(SHOWN);
    // The lure has moved the counter of its copy alone; the true one goes on from where that stands.
    const [{ signCount }] = await copied.credentials();
    await count(owner.device, signCount + 1);
    assert.equal((await comeIn(owner)).isIn, true);
  });

  test('an answer works once', LIMIT, async () => {
    const owner = await holder();
    await leave(owner);
    const first = await comeIn(owner);
    assert.equal(first.isIn, true);
    const { page } = await chromium.person(console_.origin);
    await page.goto('/login');
    const again = await page.evaluate(
      async ([body, header]) =>
        (await fetch('/login/passkey', { method: 'POST', headers: { 'Content-Type': 'application/x-www-form-urlencoded', [header]: document.querySelector('#main').dataset.csrf }, body })).status,
      [first.body, 'x-keeptrusts-csrf-token'],
    );
    assert.equal(again, 401);
  });

  test('a copy of a passkey that counts behind is refused, and the counter is why', LIMIT, async () => {
    const owner = await holder();
    const early = await owner.device.credentials();
    await leave(owner);
    for (let time = 0; time < 3; time += 1) {
      assert.equal((await comeIn(owner)).isIn, true);
      await leave(owner);
    }
    const { page } = await chromium.person(console_.origin);
    const clone = { page, device: await authenticator(page, { credentials: early }) };
    assert.equal((await comeIn(clone)).isIn, false);
    const [{ signCount }] = await owner.device.credentials();
    await count(clone.device, signCount + 1);
    assert.equal((await comeIn(clone)).isIn, true);
  });

  test('the passkey of somebody else is no second step, and one that is known is not made twice', LIMIT, async () => {
    await joinAs(console_, chromium, JO);
    const owner = await holder();
    const jo = await holder(JO);
    const secondStep = async (credentials) => {
      const { page } = await chromium.person(console_.origin);
      const device = await authenticator(page, { credentials, automaticPresenceSimulation: false });
      await page.goto('/login');
      await page.getByLabel('E-mail').fill(JO.email);
      await page.getByLabel('Password', { exact: true }).fill(JO.password);
      await page.getByRole('button', { name: 'Sign in', exact: true }).click();
      await page.waitForURL('**/login/verify**');
      await device.send('setAutomaticPresenceSimulation', { enabled: true });
      // The browser would not even ask a device for a passkey that is not Jo's: the list of allowed ones is taken away.
      await page.route('**/login/verify/passkey/options', async (route) => {
        const answer = await route.fetch();
        const json = await answer.json();
        json.options.allowCredentials = [];
        await route.fulfill({ response: answer, json });
      });
      await page.getByRole('button', { name: 'Use a passkey' }).click();
      await Promise.race([page.waitForURL(hasComeIn), page.getByRole('alert').waitFor()]);
      return new URL(page.url()).pathname;
    };
    assert.equal(await secondStep(await owner.device.credentials()), '/login/verify');
    assert.equal(await secondStep(await jo.device.credentials()), '/request-setup');

    await owner.page.goto('/mfa/setup');
    await owner.page.getByRole('button', { name: 'Add Passkey' }).click();
    await owner.page.getByRole('alert').getByText('This device holds a passkey of this account already.').waitFor();
    assert.equal((await owner.device.credentials()).length, 1);
  });

  test('a passkey that nobody here knows any more is told to the browser, and no other', LIMIT, async () => {
    const owner = await holder();
    const [kept] = await owner.device.credentials();
    await owner.page.goto('/mfa/setup');
    await owner.page.locator('[data-signal] summary').click();
    await owner.page.getByRole('button', { name: 'Remove' }).first().click();
    await owner.page.getByRole('dialog').getByRole('button', { name: 'Remove' }).click();
    await owner.page.getByText('The passkey was removed').waitFor();
    const { page } = await chromium.person(console_.origin);
    const told = [];
    await page.exposeFunction('keepForTest', (said) => told.push(said));
    await page.addInitScript(() => {
      PublicKeyCredential.signalUnknownCredential = (said) => globalThis.keepForTest(said);
    });
    const device = await authenticator(page, { credentials: [kept] });
    const [{ credentialId }] = await device.credentials();
    await comeIn({ page, device });
    await until('the browser to be told', 5000, () => told.length > 0);
    assert.deepEqual(told, [{ rpId: 'localhost', credentialId: Buffer.from(credentialId, 'base64').toString('base64url') }]);
  });
});

/** What the next ceremony of a page says: the challenge, the authenticator's answer, and the whole of what was posted. */
async function ceremony(page, path) {
  const request = await page.waitForRequest((one) => one.method() === 'POST' && new URL(one.url()).pathname === path);
  const body = request.postData();
  const credential = JSON.parse(new URLSearchParams(body).get('credential'));
  return { body, credential, challenge: clientData(credential).challenge };
}

/** Sets how often the only passkey of a device counts itself used. */
async function count(device, signCount) {
  const [credential] = await device.credentials();
  await device.send('removeCredential', { credentialId: credential.credentialId });
  await device.send('addCredential', { credential: { ...credential, signCount } });
}

/** Runs in a page: has the browser sign a challenge of the console's. */
async function getCredential(challenge) {
  const publicKey = PublicKeyCredential.parseRequestOptionsFromJSON({ challenge, rpId: 'localhost', userVerification: 'required' });
  return (await navigator.credentials.get({ publicKey })).toJSON();
}
