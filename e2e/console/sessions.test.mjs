// The time of a session in a browser: several tabs, clocks that are wrong, what is typed meanwhile, and the way back.

import assert from 'node:assert/strict';
import { after, before, suite, test } from 'node:test';

import { OWNER, signIn, startChromium, startConsole } from '../lib/console.mjs';

const LIMIT = { timeout: 240_000 };
const CONFIG = 'security:\n  session:\n    timeout: 15m\n';
const HOUR = 3_600_000;
const WARNING = 'You have not done anything for a while';

suite('a session in the browser', LIMIT, () => {
  let console_;
  /** One whose sessions count from sign-in. */
  let older;
  let chromium;

  before(async () => {
    console_ = await startConsole({ config: CONFIG, movesTime: true });
    older = await startConsole({ config: `${CONFIG}    idle: false\n`, movesTime: true });
    chromium = await startChromium();
    const { access_token: token } = await call('POST', '/v1/auth/login', OWNER);
    await call('PATCH', '/v1/organization/security', { csrf: { rotation: 'per_request' } }, token);
  });

  after(async () => {
    await chromium?.stop();
    await older?.stop();
    await console_?.stop();
  });

  const call = async (method, path, body, token) => {
    const headers = { 'Content-Type': 'application/json', ...(token ? { Authorization: `Bearer ${token}` } : {}) };
    const answer = await fetch(`${console_.api}${path}`, { method, headers, body: JSON.stringify(body) });
    assert.ok(answer.ok, `${method} ${path}: ${answer.status}`);
    return answer.json();
  };

  let passed = 0;
  /** Lets this many seconds pass for the server and for pages, which then have asked what they ask. */
  const pass = async (seconds, ...pages) => {
    passed += seconds;
    console_.pass(passed);
    for (const page of pages) {
      await page.clock.runFor(seconds * 1000);
      await page.waitForLoadState('networkidle').catch(() => {});
    }
  };

  /** Two tabs of one person, who has signed in just now; the clock of their browser is wrong by so much. */
  const twoTabs = async (error = 0) => {
    const { page: one, context, wrong } = await chromium.person(console_.origin);
    await context.clock.install({ time: Date.now() + passed * 1000 + error });
    await signIn(one, OWNER, '/settings/profile');
    const other = await context.newPage();
    await other.goto('/overview');
    return { one, other, context, wrong };
  };
  const isAtSignIn = (page) => page.waitForURL(/\/login\?returnTo=.*&reason=timeout/);

  test('ends in two tabs that are left alone, whichever of them was opened later', LIMIT, async () => {
    const { one, other } = await twoTabs();
    await pass(5 * 60, one, other);
    await other.reload();
    await pass(9 * 60 + 30, one, other);
    await pass(60, one, other);
    await pass(4 * 60 + 30, one, other);
    await isAtSignIn(one);
    await isAtSignIn(other);
    await one.goto('/overview');
    await one.waitForURL(/\/login/);
  });

  test('goes on in a tab that nobody looks at while another is used, and what was typed there stays', LIMIT, async () => {
    const { one: quiet, other: used, wrong } = await twoTabs();
    await quiet.getByLabel('Name', { exact: true }).fill('Olive, half a na');
    for (let round = 0; round < 4; round += 1) {
      await pass(5 * 60, quiet, used);
      await used.mouse.move(100 + round, 100);
      await used.waitForResponse((answer) => answer.url().endsWith('/api/session/activity'));
    }
    assert.equal(await quiet.getByLabel('Name', { exact: true }).inputValue(), 'Olive, half a na');
    await quiet.getByText(WARNING).waitFor({ state: 'hidden' });
    // The control: from now on nobody does anything.
    await pass(14 * 60 + 10, quiet, used);
    await quiet.getByText(WARNING).waitFor();
    await pass(2 * 60, quiet, used);
    await isAtSignIn(quiet);
    assert.deepEqual(wrong, []);
  });

  for (const [name, error] of [['an hour fast', HOUR], ['an hour slow', -HOUR], ['right', 0]]) {
    test(`lasts as long, and is warned of, where the clock is ${name}`, LIMIT, async () => {
      const { one, other } = await twoTabs(error);
      const went = [];
      one.on('framenavigated', (frame) => went.push(frame.url()));
      await pass(13 * 60, one, other);
      await one.getByText(WARNING).waitFor({ state: 'hidden' });
      await pass(70, one, other);
      await one.getByText(WARNING).waitFor();
      assert.deepEqual(went, [], 'nothing was loaded meanwhile');
      await one.getByRole('button', { name: 'Stay signed in' }).click();
      await one.getByText(WARNING).waitFor({ state: 'hidden' });
      await pass(10 * 60, one, other);
      await one.goto('/overview');
      assert.equal(new URL(one.url()).pathname, '/overview');
      await pass(15 * 60 + 10, one);
      await isAtSignIn(one);
    });
  }

  test('is reported and changed at the same moment with tokens that work once', LIMIT, async () => {
    const { one, wrong } = await twoTabs();
    const posts = [];
    one.on('response', (answer) => answer.request().method() === 'POST' && posts.push(answer));
    for (const name of ['Olive O.', 'Olive Owner']) {
      await one.getByLabel('Name', { exact: true }).fill(name);
      await pass(61, one);
      posts.length = 0;
      // The key is an act to report, and sends the form in the same turn.
      await one.getByLabel('Name', { exact: true }).press('Enter');
      await one.getByRole('status').getByText('Your profile was saved.').last().waitFor();
      assert.equal(await one.getByLabel('Name', { exact: true }).inputValue(), name);
      await one.waitForLoadState('networkidle');
      assert.deepEqual(posts.map((answer) => new URL(answer.url()).pathname).sort(), ['/api/session/activity', '/settings/profile']);
      assert.ok(posts.every((answer) => answer.status() < 400), 'both were heard');
      assert.equal(new Set(posts.map((answer) => answer.request().headers()['x-keeptrusts-csrf-token'])).size, 2);
    }
    assert.deepEqual(wrong, []);
  });

  test('has another cookie after a step-up in one tab, and a change in the other is done all the same, once', LIMIT, async () => {
    const { one, other } = await twoTabs();
    const changes = [];
    one.on('response', (answer) => answer.request().method() === 'POST' && changes.push(answer.status()));
    const proven = await other.evaluate((password) => globalThis.keeptrusts.send('/api/session/reauthenticate', { password }).then(({ status }) => status), OWNER.password);
    assert.equal(proven, 200);
    await one.getByLabel('Name', { exact: true }).fill('Olive Owner the Second');
    await one.getByRole('button', { name: 'Save' }).first().click();
    await one.getByRole('status').getByText('Your profile was saved.').waitFor();
    assert.equal(await one.getByLabel('Name', { exact: true }).inputValue(), 'Olive Owner the Second');
    assert.deepEqual(changes, [403, 303]);
  });

  test('that is over leads through signing in back to the page that was open, by a button as by a list that is followed', LIMIT, async () => {
    const { page, context } = await chromium.person(console_.origin);
    await signIn(page, OWNER, '/settings/security');
    const followed = await context.newPage();
    await followed.goto('/audit-log?live=on');
    let led = 0;
    page.on('request', (request) => (led += Number(request.isNavigationRequest() && new URL(request.url()).pathname === '/login')));
    passed += 16 * 60;
    console_.pass(passed);
    await page.locator('form[hx-post="/settings/security/csrf"]').getByRole('button', { name: 'Save' }).click();
    await page.waitForURL(/\/login/);
    await followed.waitForURL(/\/login/);
    for (const [tab, place] of [[page, '/settings/security'], [followed, '/audit-log?live=on']]) {
      assert.equal(new URL(tab.url()).searchParams.get('returnTo'), place);
    }
    assert.equal(led, 1, 'the refused change and the refused activity both tell of it, the first leads away');
    await followed.getByLabel('E-mail').fill(OWNER.email);
    await followed.getByLabel('Password', { exact: true }).fill(OWNER.password);
    await followed.keyboard.press('Enter');
    await followed.getByRole('heading', { name: 'Audit log', level: 1 }).waitFor();
  });

  test('that ends by its age says so, offers nothing, and is not carried on by whoever is busy', LIMIT, async () => {
    const { page } = await chromium.person(older.origin);
    await page.clock.install();
    await signIn(page, OWNER, '/settings/profile');
    const spend = async (seconds, all) => {
      older.pass(all);
      await page.clock.runFor(seconds * 1000);
      await page.waitForLoadState('networkidle').catch(() => {});
    };
    await spend(13 * 60, 13 * 60);
    const told = page.waitForResponse((answer) => answer.url().endsWith('/api/session/activity'));
    await page.mouse.move(100, 100);
    await told;
    assert.equal(await page.locator('#ending').isVisible(), false, 'it is not yet time');
    await spend(70, 14 * 60 + 10);
    await page.getByText('This session has lasted as long as it may.').waitFor();
    assert.equal(await page.getByText('You have not done anything for a while.').isVisible(), false);
    assert.equal(await page.getByRole('button', { name: 'Stay signed in' }).isVisible(), false);
    await page.evaluate(() => {
      globalThis.changes = 0;
      new MutationObserver((seen) => (globalThis.changes += seen.length)).observe(document.querySelector('#ending'), { attributes: true, attributeFilter: ['hidden'] });
    });
    await page.getByLabel('Name', { exact: true }).fill('Olive, half a na');
    await page.mouse.move(200, 200);
    await spend(20, 14 * 60 + 30);
    await page.getByText('This session has lasted as long as it may.').waitFor();
    assert.equal(await page.evaluate(() => globalThis.changes), 0, 'it is said once');
    await spend(40, 15 * 60 + 10);
    await isAtSignIn(page);
  });
});
