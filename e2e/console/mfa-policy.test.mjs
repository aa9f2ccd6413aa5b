// An organization comes to ask for second factors, as each of its people sees it: before, in the time of grace, after it.

import assert from 'node:assert/strict';
import { after, before, suite, test } from 'node:test';

import { codeOf, enrolApp } from '../lib/authenticator.mjs';
import { OWNER, hasComeIn, joinAs, knock as knockAs, lettersTo, startChromium, startConsole } from '../lib/console.mjs';
import { until } from '../lib/poll.mjs';

const LIMIT = { timeout: 180_000 };
const HOUR = 3_600;
const BANNER = 'Your organization asks for a second factor.';
const PASSWORD = 'quiet Harbor 3 lantern, plum';
const PEOPLE = Object.fromEntries(
  ['admin', 'auditor', 'member'].map((role) => [role, { email: `${role}@acme.example`, password: PASSWORD, role }]),
);
const ALL = { owner: OWNER, ...PEOPLE };

suite('second factors that an organization asks for', LIMIT, () => {
  let console_;
  let chromium;
  let hours = 0;

  before(async () => {
    console_ = await startConsole({ movesTime: true });
    chromium = await startChromium();
    for (const person of Object.values(PEOPLE)) await joinAs(console_, chromium, person);
  });

  after(async () => {
    await chromium?.stop();
    await console_?.stop();
  });

  /** Lets the server's time be so many hours after the start of the test. */
  const at = (later) => {
    hours = later;
    console_.pass(Math.round(hours * HOUR));
  };

  const knock = async (person) => (await knockAs(console_, chromium, person)).page;

  /** What each role meets at the door: the page it comes to, and whether that carries the demand. */
  const met = async () => {
    const found = {};
    for (const [role, person] of Object.entries(ALL)) {
      const page = await knock(person);
      const isAsked = (await page.getByText(BANNER).count()) > 0;
      found[role] = `${new URL(page.url()).pathname}${isAsked ? ' asked' : ''}`;
    }
    return found;
  };

  const demand = async (policy, grace) => {
    const page = await knock(OWNER);
    if (new URL(page.url()).pathname === '/login/verify') await show(page);
    await page.goto('/settings/security');
    await page.getByRole('radio', { name: policy }).check();
    await page.getByLabel('Grace Period').selectOption(grace);
    await page.locator('#mfa').getByRole('button', { name: 'Save' }).click();
    if (grace === '0h') {
      await page.getByText('You are not one of them').waitFor();
      await page.getByLabel('Ask them at once all the same').check();
      await page.locator('#mfa').getByRole('button', { name: 'Save' }).click();
    }
    await page.getByRole('status').getByText('saved', { exact: false }).first().waitFor();
  };

  let ownersSecret;
  const show = async (page) => {
    // A code works once, so it is always a later one.
    at(hours + 1 / 60);
    await page.getByLabel('Verification code').fill(codeOf(ownersSecret, Math.round(hours * HOUR)));
    await page.getByRole('button', { name: 'Verify' }).click();
    await page.waitForURL(hasComeIn);
  };

  /** Adds an app on the page that a late person is held at; ends where they wanted to go. */
  const enrol = (page) => enrolApp(page, Math.round(hours * HOUR));

  test('each role is asked, reminded, and at the end let in to enrol alone', LIMIT, async () => {
    const free = { owner: '/chat', admin: '/overview', auditor: '/overview', member: '/request-setup' };
    assert.deepEqual(await met(), free, 'nobody is asked at first');

    await demand('Required for Admins & Owners', '72h');
    const asked = { ...free, owner: '/chat asked', admin: '/overview asked' };
    assert.deepEqual(await met(), asked, 'admins and owners are, with time left');
    at(71);
    assert.deepEqual(await met(), asked, 'an hour before the end');
    const isReminded = ({ email }) => lettersTo(console_, email).some((letter) => letter.includes('Set up a second factor before'));
    await until('a reminder', 90_000, () => isReminded(PEOPLE.admin));
    assert.ok(!isReminded(PEOPLE.member));

    at(73);
    const late = { ...free, owner: '/mfa/setup', admin: '/mfa/setup' };
    assert.deepEqual(await met(), late);
    const admin = await knock(PEOPLE.admin);
    for (const path of ['/overview', '/settings/profile', '/settings/security', '/events']) {
      await admin.goto(path);
      assert.match(admin.url(), /\/(login|mfa\/setup)/, path);
    }
    ownersSecret = await enrol(await knock(OWNER));
    assert.deepEqual(await met(), { ...late, owner: '/login/verify' }, 'who has enrolled is asked for it');

    await demand('Required for all members', '0h');
    const all = { owner: '/login/verify', admin: '/mfa/setup', auditor: '/mfa/setup', member: '/mfa/setup' };
    assert.deepEqual(await met(), all, 'at once, without grace');
    for (const person of Object.values(PEOPLE)) {
      const page = await knock(person);
      await enrol(page);
      await page.goto('/overview');
      assert.equal(new URL(page.url()).pathname, '/overview', person.role);
    }
    assert.deepEqual(new Set(Object.values(await met())), new Set(['/login/verify']));
  });

  test('an old password is replaced first, and then the second factor is added', LIMIT, async () => {
    const late = { email: 'late@acme.example', password: PASSWORD, role: 'member' };
    const host = await knock(OWNER);
    await show(host);
    await joinAs(console_, chromium, late, host);
    at(hours + 91 * 24);
    const page = await knock(late);
    assert.equal(new URL(page.url()).pathname, '/change-password');
    await page.goto('/overview');
    assert.equal(new URL(page.url()).pathname, '/login', 'no way around it');
    await page.goto('/mfa/setup');
    assert.equal(new URL(page.url()).pathname, '/login', 'nor by adding a factor first');
    await page.goto('/change-password');
    const renewed = { ...late, password: 'brisk Meadow 8 kettle, violin' };
    await page.locator('input[type=password]').fill(renewed.password);
    await page.getByRole('button', { name: 'Change Password' }).click();
    await page.waitForURL(/\/login/);
    const again = await knock(renewed);
    assert.equal(new URL(again.url()).pathname, '/mfa/setup');
    await enrol(again);
    await again.goto('/overview');
    assert.equal(new URL(again.url()).pathname, '/overview');
  });
});
