// Every flow in which a passkey is made or shown, in a real Chromium, with each thing that can be wrong about it and the
// control beside it. @simplewebauthn/server judges each ceremony too, and is of the same mind.

import assert from 'node:assert/strict';
import { after, before, beforeEach, suite, test } from 'node:test';

import { authenticator } from '../lib/authenticator.mjs';
import { answerIn, judgeMade, judgeShown, overhear, startPhisher } from '../lib/ceremonies.mjs';
import { OWNER, comeToOffer, hasComeIn, joinAs, signIn, signOut, startChromium, startConsole } from '../lib/console.mjs';
import { until } from '../lib/poll.mjs';

const LIMIT = { timeout: 240_000 };
const JO = { email: 'jo@acme.example', password: 'quiet Harbor 3 lantern, plum' };
const NO_FAULT = { isBogusSignature: false, isBadUV: false, isBadUP: false };

/** Bit 2 of the flags: the user was verified (WebAuthn level 3 section 6.1). */
const VERIFIED = 4;

suite('every flow of passkeys', LIMIT, () => {
  let console_;
  let chromium;
  let phisher;
  let minutes = 0;

  before(async () => {
    chromium = await startChromium();
    phisher = await startPhisher();
  });
  beforeEach(async () => {
    await console_?.stop();
    console_ = await startConsole({ movesTime: true });
    minutes = 0;
    await joinAs(console_, chromium, JO);
  });
  after(async () => {
    phisher?.stop();
    await chromium?.stop();
    await console_?.stop();
  });

  /** Somebody at a page of this origin whose device holds these passkeys. */
  const somebody = async (origin, credentials = []) => {
    const { page } = await chromium.person(origin);
    const device = await authenticator(page, { credentials });
    return { page, device };
  };

  /** A page of the console on which nothing happens by itself. */
  const QUIET = '/forgot-password';

  /** The sign-in page, which offers no passkey by itself. */
  const withoutOffer = (page) =>
    page.addInitScript(() => {
      PublicKeyCredential.isConditionalMediationAvailable = async () => false;
    });

  const typePassword = async (page, { email, password }) => {
    await page.goto('/login');
    await page.getByLabel('E-mail').fill(email);
    await page.getByLabel('Password', { exact: true }).fill(password);
    await page.getByRole('button', { name: 'Sign in', exact: true }).click();
  };

  /** The answer behind so many others on a page, and how it was taken. */
  const next = (ear, before) => until('an answer', 15_000, () => ear.said[before]);

  /** Has somebody add a first passkey on the page for it. */
  const addFirst = async ({ page, ear }, who) => {
    await signIn(page, who);
    await page.goto('/mfa/setup');
    await page.getByRole('button', { name: 'Add Passkey' }).click();
    await page.getByRole('heading', { name: 'Save your recovery codes' }).waitFor();
    return next(ear, 0);
  };

  // How each flow comes to where a passkey is shown, and what shows it.
  const byButton = {
    prepare: (page) => page.goto('/login'),
    act: (page) => page.getByRole('button', { name: 'Sign in with Passkey' }).click(),
    hasWorked: (page) => page.waitForURL(hasComeIn),
  };
  const byOffer = {
    ...byButton,
    offers: true,
    prepare: (page) => page.goto('about:blank'),
    act: comeToOffer,
  };
  const secondStep = {
    ...byButton,
    knowsWho: true,
    prepare: async (page) => {
      await typePassword(page, OWNER);
      await page.waitForURL('**/login/verify**');
    },
    act: (page) => page.getByRole('button', { name: 'Use a passkey' }).click(),
  };
  const proof = {
    knowsWho: true,
    prepare: async (page) => {
      if (!page.url().includes('/mfa/setup')) {
        await byButton.prepare(page);
        await byButton.act(page);
        await byButton.hasWorked(page);
        minutes += 11;
        console_.pass(minutes * 60);
      }
      await page.goto('/mfa/setup');
      await page.getByRole('button', { name: 'Make new ones' }).click();
      await page.locator('#confirm-yes').click();
      await page.locator('#prove').waitFor();
    },
    act: (page) => page.locator('#prove').getByRole('button', { name: 'Use a passkey' }).click(),
    // What was wanted, and has been confirmed, is asked for anew.
    hasWorked: (page) => page.getByRole('heading', { name: 'Save your recovery codes' }).waitFor(),
  };

  /** Goes through a flow with each fault, between two times with none. */
  const takesGoodOnesAlone = async (flow) => {
    const { page, device } = await somebody(console_.origin);
    if (!flow.offers) await withoutOffer(page);
    const ear = await overhear(page);
    const made = await addFirst({ page, ear }, OWNER);
    const known = await judgeMade(made, console_.origin);
    const early = await device.credentials();
    await device.send('setAutomaticPresenceSimulation', { enabled: false });
    await signOut(page);

    const jo = await somebody(console_.origin);
    const joMade = await addFirst({ ...jo, ear: await overhear(jo.page) }, JO);
    await jo.page.goto(QUIET);
    const [{ userHandle }] = await jo.device.credentials();
    const lure = await somebody(phisher.origin);
    await lure.page.goto(phisher.origin);
    const clone = await somebody(console_.origin, early);
    await clone.page.goto(QUIET);

    /** What is said when the flow is gone through with this fault: how it was taken, and what the second verifier says. */
    const attempt = async ({ bits = {}, change = null }) => {
      await device.send('setAutomaticPresenceSimulation', { enabled: true });
      await flow.prepare(page);
      await device.send('setResponseOverrideBits', { ...NO_FAULT, ...bits });
      ear.change = change;
      const before = ear.said.length;
      await flow.act(page);
      const said = await next(ear, before);
      // Behind a refusal the page offers again, which a device without a fault would answer at once.
      if (flow.offers && !said.isTaken) await page.goto('about:blank');
      ear.change = null;
      await device.send('setResponseOverrideBits', NO_FAULT);
      return { said, counter: await judgeShown(said, console_.origin, known) };
    };
    const good = async (what) => {
      const { said, counter } = await attempt({});
      assert.deepEqual([said.isTaken, counter !== null], [true, true], `${what}: ${said.status}`);
      known.counter = counter;
      await flow.hasWorked(page);
      return said;
    };
    const leave = async () => {
      await device.send('setAutomaticPresenceSimulation', { enabled: false });
      if (flow === proof) {
        minutes += 11;
        console_.pass(minutes * 60);
      } else {
        await signOut(page);
      }
    };

    await good('at first');
    await leave();
    const lured = async (_, challenge) => {
      const [credential] = await device.credentials();
      await lure.device.send('clearCredentials');
      await lure.device.send('addCredential', { credential });
      return answerIn(lure.page, challenge);
    };
    const faults = {
      'nobody was verified': { bits: { isBadUV: true } },
      'nobody was there': { bits: { isBadUP: true } },
      'another signature': { bits: { isBogusSignature: true } },
      'another origin asked': { change: lured },
      'a copy counts behind': { change: (_, challenge) => answerIn(clone.page, challenge) },
      'it says that it is somebody else’s': {
        change: (own) => ({ ...own, response: { ...own.response, userHandle: Buffer.from(userHandle, 'base64').toString('base64url') } }),
        isOurs: true,
      },
      ...(flow.knowsWho && { 'it is somebody else’s': { change: (_, challenge) => answerIn(jo.page, challenge) } }),
    };
    for (const [what, fault] of Object.entries(faults)) {
      const { said, counter } = await attempt(fault);
      assert.equal(said.isTaken, false, `${what}: ${said.status}`);
      // Whose handle it is says the account, which the second verifier knows nothing of.
      if (!fault.isOurs) assert.equal(counter, null, `the second verifier: ${what}`);
      await device.send('setAutomaticPresenceSimulation', { enabled: false });
    }
    const said = await good('the control');
    assert.equal(await sendAgain(page, said), 401, 'an answer works once');
    assert.ok(await judgeMade(joMade, console_.origin), 'the second verifier knows the other passkey too');
  };

  test('signing in by the button takes a good passkey and nothing else', LIMIT, () => takesGoodOnesAlone(byButton));
  test('signing in by the offer takes a good passkey and nothing else', LIMIT, () => takesGoodOnesAlone(byOffer));
  test('the offer among the suggestions outlives its first challenge, and comes again after a refusal', LIMIT, async () => {
    const { page, device } = await somebody(console_.origin);
    await addFirst({ page, ear: await overhear(page) }, OWNER);
    const isThere = (enabled) => device.send('setAutomaticPresenceSimulation', { enabled });
    const refused = page.getByText('This passkey does not let anybody in here').first();
    await page.addInitScript(() => {
      const own = navigator.credentials.get.bind(navigator.credentials);
      globalThis.offers = 0;
      navigator.credentials.get = (asked) => {
        globalThis.offers += 1;
        return own(asked);
      };
    });
    await page.clock.install();

    await isThere(false);
    await signOut(page);
    await page.goto(QUIET);
    let asked = 0;
    page.on('request', (request) => (asked += Number(request.url().endsWith('/login/passkey/options'))));
    await page.goto('/login');
    await until('an offer that nobody takes', 10_000, () => page.evaluate(() => globalThis.offers === 1));
    await isThere(true);
    console_.pass(6 * 60);
    await page.clock.fastForward('06:00');
    await page.waitForURL(hasComeIn);
    assert.equal(asked, 2, 'the first challenge is too old');

    await isThere(false);
    await signOut(page);
    await page.goto('/login');
    await device.send('setResponseOverrideBits', { ...NO_FAULT, isBogusSignature: true });
    await isThere(true);
    await page.getByRole('button', { name: 'Sign in with Passkey' }).click();
    await refused.waitFor();
    await device.send('setResponseOverrideBits', NO_FAULT);
    await page.waitForURL(hasComeIn);
  });

  test('whoever belongs to several organizations says in which they want in with their passkey', LIMIT, async () => {
    const { page, device } = await somebody(console_.origin);
    await withoutOffer(page);
    await addFirst({ page, ear: await overhear(page) }, OWNER);
    await signOut(page);
    await page.goto('/login');
    await page.getByText('I belong to several organizations').click();
    for (const [organization, isLetIn] of [['nowhere', false], ['acme', true]]) {
      await page.getByLabel('Organization', { exact: true }).fill(organization);
      await page.getByRole('button', { name: 'Sign in with Passkey' }).click();
      if (isLetIn) await page.waitForURL(hasComeIn);
      else await page.getByText('This passkey does not let anybody in here').first().waitFor();
    }
    assert.equal((await device.credentials()).length, 1, 'the browser was not told to forget it');
  });

  test('the second step takes a good passkey and nothing else', LIMIT, () => takesGoodOnesAlone(secondStep));
  test('proving again who one is takes a good passkey and nothing else', LIMIT, () => takesGoodOnesAlone(proof));

  /** The same answer as if nobody had been verified: nothing signs what an authenticator says of itself at first. */
  const unverified = (own) => withObject(own, (object) => {
    const flags = object.indexOf(Buffer.from('authData')) + 'authData'.length + 2 + 32;
    object[flags] &= ~VERIFIED;
  });

  const onThePage = {
    enter: (page) => signIn(page, OWNER),
    prepare: (page) => page.goto('/mfa/setup'),
  };
  const onTheWayIn = {
    enter: async (page) => {
      await signIn(page, OWNER);
      await page.goto('/settings/security');
      await page.getByRole('radio', { name: 'Required for all members' }).check();
      await page.getByLabel('Grace Period').selectOption('0h');
      await page.locator('#mfa').getByRole('button', { name: 'Save' }).click();
      await page.getByText('You are one of them').waitFor();
      await page.getByLabel('Ask them at once all the same').check();
      await page.locator('#mfa').getByRole('button', { name: 'Save' }).click();
      // The session that asks has shown no second factor either, and ends with the change.
      await page.waitForURL(/\/login/);
    },
    prepare: async (page) => {
      await typePassword(page, OWNER);
      await page.waitForURL('**/mfa/setup');
    },
  };

  /** Adds a passkey with each fault, and then one without any. */
  const makesGoodOnesAlone = async (flow) => {
    const jo = await somebody(console_.origin);
    const others = await addFirst({ ...jo, ear: await overhear(jo.page) }, JO);
    const { page, device } = await somebody(console_.origin);
    await withoutOffer(page);
    const ear = await overhear(page);
    const lure = await somebody(phisher.origin);
    await lure.page.goto(phisher.origin);
    await flow.enter(page);

    const attempt = async (change = null) => {
      await device.send('clearCredentials');
      await flow.prepare(page);
      ear.change = change;
      const before = ear.said.length;
      await page.getByRole('button', { name: 'Add Passkey' }).click();
      const said = await next(ear, before);
      return { said, judged: await judgeMade(said, console_.origin) };
    };
    const { id, rawId, response } = others.credential;
    const known = (own) => ({ ...own, id, rawId, response: { ...own.response, attestationObject: response.attestationObject } });
    const faults = {
      'nobody was verified': [unverified, false],
      'another origin asked': [(_, challenge) => answerIn(lure.page, challenge, 'webauthn.create'), false],
      // In itself such a ceremony is in order: that a passkey is known already, only its accounts tell.
      'it is known already': [known, true],
    };
    for (const [what, [change, isInOrder]] of Object.entries(faults)) {
      const { said, judged } = await attempt(change);
      assert.deepEqual([said.isTaken, judged !== null], [false, isInOrder], `${what}: ${said.status}`);
      await page.getByRole('alert').first().waitFor();
    }
    const { said, judged } = await attempt();
    assert.deepEqual([said.isTaken, judged !== null], [true, true], `the control: ${said.status}`);
    await page.getByRole('heading', { name: 'Save your recovery codes' }).waitFor();
    await page.goto('/mfa/setup');
    assert.equal(await sendAgain(page, said), 401, 'an answer works once');
  };

  test('adding a passkey on the page for it takes a good one and nothing else', LIMIT, () => makesGoodOnesAlone(onThePage));
  test('adding a passkey on the way in takes a good one and nothing else', LIMIT, () => makesGoodOnesAlone(onTheWayIn));

  test('the browser is told which passkeys are good, after each is added, renamed and removed', LIMIT, async () => {
    const { page, device } = await somebody(console_.origin);
    await page.addInitScript(() => {
      for (const name of ['signalAllAcceptedCredentials', 'signalCurrentUserDetails']) {
        const own = PublicKeyCredential[name].bind(PublicKeyCredential);
        PublicKeyCredential[name] = (told) => {
          sessionStorage.setItem(name, JSON.stringify(told));
          return own(told);
        };
      }
    });
    const told = (name) => page.evaluate((name) => JSON.parse(sessionStorage.getItem(name)), name);
    const accepted = async () => (await told('signalAllAcceptedCredentials')).allAcceptedCredentialIds;
    const first = (await addFirst({ page, ear: await overhear(page) }, OWNER)).credential.id;
    await page.goto('/mfa/setup');
    await until('both signals', 10_000, () => told('signalCurrentUserDetails'));
    assert.deepEqual(await accepted(), [first]);
    await page.goto('/settings/profile');
    await page.getByLabel('Name', { exact: true }).fill('Olive Branch');
    await page.getByRole('button', { name: 'Save', exact: true }).first().click();
    await until('the new name', 10_000, async () => (await told('signalCurrentUserDetails')).displayName === 'Olive Branch');
    await page.goto('/mfa/setup');
    const details = await told('signalCurrentUserDetails');
    assert.deepEqual([details.rpId, details.name], ['localhost', OWNER.email]);
    assert.equal((await told('signalAllAcceptedCredentials')).userId, details.userId);

    // Another device makes the second one.
    await device.send('clearCredentials');
    await page.getByRole('button', { name: 'Add Passkey' }).click();
    await page.getByText('The passkey was added').waitFor();
    const [second] = (await device.credentials()).map(({ credentialId }) => Buffer.from(credentialId, 'base64').toString('base64url'));
    await until('both', 10_000, async () => (await accepted())?.length === 2);
    assert.deepEqual(new Set(await accepted()), new Set([first, second]));

    const forget = () => page.evaluate(() => sessionStorage.clear());
    const passkey = (at) => page.locator('[data-signal] li').nth(at);
    await forget();
    await passkey(0).locator('summary').click();
    await passkey(0).getByLabel('Name').fill('Laptop');
    await passkey(0).getByRole('button', { name: 'Rename' }).click();
    await page.getByText('The passkey was renamed').waitFor();
    await until('a signal', 10_000, () => told('signalAllAcceptedCredentials'));
    assert.equal((await accepted()).length, 2);

    for (const left of [[second], []]) {
      await forget();
      await passkey(0).locator('summary').click();
      await passkey(0).getByRole('button', { name: 'Remove' }).click();
      await page.getByRole('dialog').getByRole('button', { name: 'Remove' }).click();
      await until(`${left.length} left`, 10_000, () => told('signalAllAcceptedCredentials'));
      assert.deepEqual(await accepted(), left);
    }
  });
});

/** Sends what was said once more, from the same page; the status of the answer. */
function sendAgain(page, { path, body }) {
  return page.evaluate(
    async ([path, body]) => {
      const { csrf } = document.querySelector('#main').dataset;
      const headers = { 'Content-Type': 'application/x-www-form-urlencoded', 'x-keeptrusts-csrf-token': csrf };
      return (await fetch(path, { method: 'POST', headers, body })).status;
    },
    [path, body],
  );
}

/** An answer with another attestation object, which `change` has changed. */
function withObject(own, change) {
  const object = Buffer.from(own.response.attestationObject, 'base64url');
  change(object);
  return { ...own, response: { ...own.response, attestationObject: object.toString('base64url') } };
}
