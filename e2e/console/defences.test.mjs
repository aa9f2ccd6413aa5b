// What a real browser is kept from: running what was slipped into a page, changing something for another site, keeping what
// somebody saw who has signed out, and letting a page's own names reach into its script.

import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { after, before, suite, test } from 'node:test';

import { OF_MEMBERS, OF_OWNERS } from '../lib/console-pages.mjs';
import { OWNER, signIn, signOut, startChromium, startConsole } from '../lib/console.mjs';
import { furnish } from '../lib/furnish.mjs';

const LIMIT = { timeout: 180_000 };

suite('the defences of a browser', LIMIT, () => {
  let console_;
  let chromium;
  let evil;

  before(async () => {
    console_ = await startConsole();
    chromium = await startChromium();
    await furnish(console_);
    evil = createServer((request, answer) => {
      answer.setHeader('Content-Type', 'text/html');
      answer.end(pages.get(request.url) ?? '');
    });
    await new Promise((resolve) => evil.listen(0, '127.0.0.1', resolve));
  });

  after(async () => {
    await chromium?.stop();
    await console_?.stop();
    evil?.close();
  });

  /** The pages of the other site. */
  const pages = new Map();

  test('a script and a request that were slipped into a page are stopped, and the report of each arrives', LIMIT, async () => {
    const { page } = await chromium.person(console_.origin);
    let ran = 0;
    await page.context().exposeFunction('hacked', () => (ran += 1));
    let left = 0;
    page.on('response', (answer) => (left += answer.url().includes('evil.example') ? 1 : 0));
    await page.goto('/login');
    const attempts = {
      'a handler': () => document.querySelector('main').insertAdjacentHTML('beforeend', '<img src="data:," onerror="hacked()">'),
      'a picture of another origin': () => (new Image().src = 'https://evil.example/seen.png'),
      'a file of another origin': () => fetch('https://evil.example/').catch(() => {}),
      'a script as text': () => {
        try {
          document.body.appendChild(document.createElement('script')).text = 'hacked()';
        } catch {
          // A page that asks for trusted types takes no text as a script.
        }
      },
    };
    for (const [name, attempt] of Object.entries(attempts)) {
      const report = page.waitForResponse((answer) => new URL(answer.url()).pathname === '/csp-report', { timeout: 10_000 });
      await page.evaluate(attempt);
      const answer = await report.catch((error) => assert.fail(`${name}: ${error.message}`));
      assert.equal(answer.status(), 204, name);
      assert.match(answer.request().postData(), /csp-report/, name);
    }
    assert.deepEqual([ran, left], [0, 0]);
  });

  test('no form of another site or of another port changes anything', LIMIT, async () => {
    const { page } = await chromium.person(console_.origin);
    await signIn(page, OWNER, '/settings/profile');
    const name = await page.getByLabel('Name', { exact: true }).inputValue();
    const forms = [];
    for (const path of ['/settings/profile', '/preferences', '/login']) {
      for (const kind of ['application/x-www-form-urlencoded', 'text/plain', 'multipart/form-data']) {
        forms.push([path, `<form method="post" enctype="${kind}" action="${console_.origin}${path}"><input name="name" value="Mallory"><input name="email" value="${OWNER.email}"><input name="theme" value="dark"></form><script>document.forms[0].submit()</script>`]);
      }
    }
    const { port } = evil.address();
    const sites = { 'cross-site': `http://127.0.0.1:${port}`, 'same-site': `http://localhost:${port}` };
    for (const [relation, site] of Object.entries(sites)) {
      for (const [place, [path, form]] of forms.entries()) {
        pages.set(`/${place}`, form);
        const what = `${relation} /${place} to ${path}`;
        const sent = page.waitForResponse((answer) => answer.request().method() === 'POST' && answer.url() === `${console_.origin}${path}`, { timeout: 10_000 });
        await page.goto(`${site}/${place}`).catch(() => {});
        const answer = await sent.catch((error) => assert.fail(`${what}: ${error.message}`));
        const headers = await answer.request().allHeaders();
        assert.equal(answer.status(), 403, what);
        assert.deepEqual([headers['sec-fetch-site'], headers.origin], [relation, site], what);
        await page.getByText('Another site has sent this').waitFor();
      }
    }
    await page.goto('/settings/profile');
    assert.equal(await page.getByLabel('Name', { exact: true }).inputValue(), name, 'and the session goes on');
    await page.getByLabel('Name', { exact: true }).fill('Olive herself');
    await page.getByRole('button', { name: 'Save' }).click();
    await page.getByRole('status').getByText('Your profile was saved.').first().waitFor();
  });

  test('a form that is sent without the page’s script says so, and puts nothing into the address', LIMIT, async () => {
    const { page } = await chromium.person(console_.origin, { javaScriptEnabled: false });
    await page.goto('/login');
    await page.getByLabel('E-mail').fill(OWNER.email);
    await page.getByLabel('Password', { exact: true }).fill(OWNER.password);
    await page.getByRole('button', { name: 'Sign in', exact: true }).click();
    await page.getByText('The script of this page has not run').waitFor();
    assert.equal(page.url(), `${console_.origin}/login`);
    assert.deepEqual(await page.context().cookies().then((all) => all.filter(({ name }) => name.endsWith('kt_session'))), []);
  });

  test('after signing out nothing is left in the browser, and the way back shows nothing', LIMIT, async () => {
    const { page, context } = await chromium.person(console_.origin);
    await signIn(page);
    for (const path of OF_MEMBERS) await page.goto(path);
    const held = (await context.cookies()).find(({ name }) => name.endsWith('kt_session'));
    assert.ok(held);
    await signOut(page);
    const kept = await page.evaluate(async () => ({
      local: Object.keys(localStorage),
      session: Object.values(sessionStorage),
      databases: (await indexedDB.databases()).length,
      caches: await caches.keys(),
      workers: (await navigator.serviceWorker?.getRegistrations())?.length ?? 0,
      cookies: document.cookie,
      names: globalThis.name,
    }));
    // htmx notes the path of the page that is shown: the one to sign in on.
    assert.deepEqual(kept, { local: [], session: kept.session.filter((value) => value === '/login'), databases: 0, caches: [], workers: 0, cookies: '', names: '' });
    const cookies = await context.cookies();
    assert.ok(!cookies.some(({ name, value }) => name.endsWith('kt_session') || value === held.value), JSON.stringify(cookies));
    await page.goBack();
    await page.waitForURL(/\/login/);
    assert.equal(await page.getByText(OWNER.email).count(), 0);
  });

  test('the pages work with prototypes that nobody can write to, and with things that are called __proto__', LIMIT, async () => {
    const { page, context, wrong } = await chromium.person(console_.origin);
    await context.addInitScript(() => {
      for (const kind of [Object, Array, Function, String, Number, Boolean, Map, Set, Promise, RegExp, Date, EventTarget, Node, Element, HTMLElement, FormData, URLSearchParams]) {
        Object.freeze(kind.prototype);
      }
    });
    await signIn(page);
    assert.ok(await page.evaluate(() => Object.isFrozen(Object.prototype)), 'the control');
    for (const path of [...OF_MEMBERS, ...OF_OWNERS]) await page.goto(path);

    await page.goto('/settings/access-keys');
    await page.locator('[data-dialog="new-key"]').first().click();
    await page.locator('dialog[open]').getByLabel('Name').fill('__proto__');
    await page.locator('dialog[open]').getByRole('button', { name: 'Make the key' }).click();
    await page.locator('#secret').waitFor();
    await page.goto('/settings/access-keys');
    await page.getByLabel('Search').fill('__PROTO__');
    await page.locator('#keys tbody tr').nth(1).waitFor({ state: 'detached' });
    assert.equal(await page.locator('#keys tbody tr').count(), 1);
    await page.getByRole('link', { name: '__proto__' }).click();
    await page.getByRole('heading', { name: '__proto__' }).first().waitFor();

    await page.goto('/tasks');
    await page.getByRole('button', { name: 'New task' }).click();
    await page.locator('#add').getByLabel('Name').fill('constructor');
    await page.locator('#add').getByLabel('Prompt').fill('Say {{__proto__}} and {{constructor}}');
    await page.locator('#add').getByRole('button', { name: 'Save' }).click();
    await page.waitForURL('**/tasks/tsk_*');
    await page.getByLabel('__proto__').fill('polluted');
    await page.getByLabel('constructor').fill('built');
    await page.locator('main form').getByRole('button', { name: 'Run' }).click();
    await page.waitForURL('**/runs/run_*');
    await page.locator('#run-state').getByText('Say polluted and built').first().waitFor({ timeout: 30_000 });

    await page.goto('/events?source_ip=127.0.0.1');
    await page.getByRole('link', { name: 'Follow', exact: true }).click();
    await page.getByText('Following: new events appear by themselves.').waitFor();
    assert.equal(await page.evaluate(() => ({}).polluted), undefined);
    assert.deepEqual(wrong, []);
  });
});
