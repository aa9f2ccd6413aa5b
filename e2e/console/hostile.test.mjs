// What strangers and members can make the console show: names, labels, headers, models. Every page shows it as text.

import assert from 'node:assert/strict';
import { after, before, suite, test } from 'node:test';

import { CspEvaluator } from 'csp_evaluator/dist/evaluator.js';
import { Severity } from 'csp_evaluator/dist/finding.js';
import { CspParser } from 'csp_evaluator/dist/parser.js';

import { authenticator } from '../lib/authenticator.mjs';
import { OF_MEMBERS, OF_OWNERS } from '../lib/console-pages.mjs';
import { linkTo, OWNER, signIn, startChromium, startConsole } from '../lib/console.mjs';

const LIMIT = { timeout: 240_000 };
const HOSTILE = `"'><img src=x onerror=hacked()><script>hacked()</script>x{{7*7}}x\${7*7}x`;
// What it would look like, had a template been evaluated on the way.
const EVALUATED = /x49x/;
/** What a gateway tells of itself. */
const REPORT = {
  gateway_id: 'gw_hostile',
  software_version: '0.1.0',
  config_version: 'none',
  config_source: 'kept',
  targets: [{ id: HOSTILE, provider: 'openai', state: 'failing', models: [HOSTILE] }],
};
const PASSWORD = 'quiet Harbor 3 lantern, plum';

suite('hostile strings', LIMIT, () => {
  let console_;
  let chromium;

  before(async () => {
    console_ = await startConsole({ config: 'security:\n  managed_by: console\n' });
    chromium = await startChromium();
  });

  after(async () => {
    await chromium?.stop();
    await console_?.stop();
  });

  const call = async (method, path, body, token, headers = {}) => {
    const answer = await fetch(`${console_.api}${path}`, {
      method,
      headers: { 'Content-Type': 'application/json', ...(token ? { Authorization: `Bearer ${token}` } : {}), ...headers },
      body: body && JSON.stringify(body),
    });
    assert.ok(answer.ok, `${method} ${path}: ${answer.status} ${await answer.clone().text()}`);
    return answer.status === 204 ? null : answer.json();
  };

  /** Puts the string wherever somebody may write. */
  const sow = async () => {
    const { access_token: token } = await call('POST', '/v1/auth/login', OWNER, null, { 'User-Agent': HOSTILE });
    await call('PATCH', '/v1/me', { name: HOSTILE }, token);
    await call('PATCH', '/v1/organization', { name: HOSTILE }, token);
    await call('POST', '/v1/tokens', { type: 'access', name: HOSTILE, scope: 'write' }, token);
    const { key } = await call('POST', '/v1/tokens', { type: 'gateway', name: HOSTILE, scope: 'write' }, token);
    await call('POST', '/v1/gateways/sync', REPORT, key);
    const ranges = { enforce_allowlist: false, applies_to: 'console', allow: [{ cidr: '127.0.0.0/8', label: HOSTILE }], deny: [{ cidr: '203.0.113.0/24', label: HOSTILE }] };
    await call('PUT', '/v1/organization/ip-restrictions', ranges, token);
    await call('POST', '/v1/invitations', { email: 'jo@acme.example', role: 'member' }, token);
    const link = await linkTo(console_, 'jo@acme.example', '/register');
    const guest = { organization: 'acme', email: 'jo@acme.example', name: HOSTILE, password: PASSWORD, invitation_token: new URL(link).searchParams.get('token') };
    await call('POST', '/v1/auth/register', guest);
    await call('PATCH', '/v1/organization/security', { registration: { self_registration: true } }, token);
    await call('POST', '/v1/auth/register', { organization: 'acme', email: 'kim@acme.example', name: HOSTILE, password: PASSWORD });
    const body = JSON.stringify({ model: HOSTILE, messages: [{ role: 'user', content: HOSTILE }] });
    await fetch(`${console_.gateway}/v1/chat/completions`, { method: 'POST', headers: { 'Content-Type': 'application/json', 'User-Agent': HOSTILE, Authorization: `Bearer ${encodeURIComponent(HOSTILE)}` }, body });
    await fetch(`${console_.gateway}/v1/${encodeURIComponent('<img src=x onerror=hacked()>')}`, { method: 'POST', body });
  };

  /** Every page that the links of the console lead to, each once whatever its order and filters are, and what it answers. */
  const crawl = async (page, seen = new Set()) => {
    const waiting = [...OF_MEMBERS, ...OF_OWNERS];
    while (waiting.length > 0) {
      assert.ok(seen.size < 400, `the pages come to an end: ${waiting}`);
      const path = waiting.shift();
      if (seen.has(path)) continue;
      seen.add(path);
      const answer = await page.goto(path).catch((error) => assert.match(error.message, /Download is starting/));
      if (!answer) continue;
      assert.ok(answer.status() < 500, `${path}: ${answer.status()}`);
      assert.doesNotMatch(await answer.text(), EVALUATED, path);
      const links = await page.locator('main a[href^="/"]').evaluateAll((all) => all.map((link) => link.getAttribute('href').split(/[?#]/)[0]));
      waiting.push(...links.filter((link) => link && !link.startsWith('/help')));
    }
    return seen;
  };

  /** Keeps a task whose name, prompt and input are this, and runs it. Gives the pages that show it. */
  const keepTask = async (page) => {
    await page.goto('/tasks');
    await page.getByRole('button', { name: 'New task' }).click();
    await page.locator('#add').getByLabel('Name').fill(HOSTILE);
    await page.locator('#add').getByLabel('Prompt').fill(`${HOSTILE} {{topic}}`);
    await page.locator('#add').getByRole('button', { name: 'Save' }).click();
    await page.waitForURL('**/tasks/tsk_*');
    const task = new URL(page.url()).pathname;
    await page.getByLabel('topic', { exact: true }).fill(HOSTILE);
    await page.locator('main').getByRole('button', { name: 'Run', exact: true }).click();
    await page.waitForURL('**/runs/run_*');
    return [task, new URL(page.url()).pathname];
  };

  /** Gives a passkey this name, sees it on the page where it is added, and removes it again. */
  const namePasskey = async (page) => {
    await authenticator(page);
    await page.goto('/mfa/setup');
    await page.getByRole('button', { name: 'Add Passkey' }).click();
    await page.getByRole('link', { name: 'I have saved them' }).click();
    const passkey = page.locator('[data-signal] li');
    await passkey.locator('summary').click();
    await passkey.getByLabel('Name').fill(HOSTILE);
    await passkey.getByRole('button', { name: 'Rename' }).click();
    await passkey.getByText(HOSTILE).waitFor();
    await passkey.locator('summary').click();
    await passkey.getByRole('button', { name: 'Remove' }).click();
    await page.getByRole('dialog').getByRole('button', { name: 'Remove' }).click();
    await page.getByText('The passkey was removed').waitFor();
  };

  test('are shown on every page as they were typed, and run on none', LIMIT, async () => {
    await sow();
    const { page, context, wrong } = await chromium.person(console_.origin);
    let ran = 0;
    await context.exposeFunction('hacked', () => (ran += 1));
    page.on('dialog', (dialog) => {
      ran += 1;
      dialog.dismiss();
    });
    let shown = 0;
    page.on('load', async () => {
      if ((await page.locator('body').innerText().catch(() => '')).includes(HOSTILE)) shown += 1;
    });
    await signIn(page);
    for (const path of await keepTask(page)) {
      await page.goto(path);
      assert.ok((await page.locator('main').innerHTML()).includes('&lt;script&gt;hacked()'), `${path} shows it as text`);
    }
    const seen = await crawl(page);
    for (const kind of ['/settings/members/', '/settings/access-keys/', '/events/', '/audit-log/', '/gateways/gw_hostile', '/tasks/']) {
      assert.ok([...seen].some((path) => path.startsWith(kind)), `no page under ${kind} in ${[...seen]}`);
    }
    await page.goto(`/login?returnTo=${encodeURIComponent(`javascript:hacked()//${HOSTILE}`)}`);
    await page.goto(`/events?source_ip=${encodeURIComponent(HOSTILE)}&request_id=${encodeURIComponent(HOSTILE)}`);
    await page.goto(`/${encodeURIComponent(HOSTILE)}`);
    await namePasskey(page);
    assert.equal(ran, 0);
    assert.ok(shown >= 15, `the string was seen on ${shown} pages`);
    assert.deepEqual(wrong, []);
  });

  test('would meet a policy in which an outside evaluator finds no way to run a script', LIMIT, async () => {
    for (const path of ['/login', '/help', '/nowhere']) {
      const answer = await fetch(`${console_.origin}${path}`);
      const policy = answer.headers.get('content-security-policy');
      const findings = new CspEvaluator(new CspParser(policy).csp).evaluate();
      const grave = findings.filter(({ severity }) => severity <= Severity.MEDIUM || severity === Severity.HIGH_MAYBE || severity === Severity.MEDIUM_MAYBE);
      assert.deepEqual(grave.map(({ directive, value, description }) => [directive, value, description]), [], path);
    }
    const loose = new CspEvaluator(new CspParser("script-src 'unsafe-inline' *").csp).evaluate();
    assert.ok(loose.some(({ severity }) => severity === Severity.HIGH), 'the evaluator finds faults where there are some');
  });

  test('two tabs keep working side by side when each change takes a token of its own', LIMIT, async () => {
    const { access_token: token } = await call('POST', '/v1/auth/login', OWNER);
    await call('PATCH', '/v1/organization/security', { csrf: { rotation: 'per_request' } }, token);
    const { page: one, context } = await chromium.person(console_.origin);
    await signIn(one, OWNER, '/settings/profile');
    const other = await context.newPage();
    await other.goto('/settings/profile');
    const used = new Set();
    for (const page of [one, other]) {
      page.on('request', (request) => request.method() === 'POST' && used.add(request.headers()['x-keeptrusts-csrf-token']));
    }
    for (const [turn, page] of [one, other, one, one, other].entries()) {
      await page.getByLabel('Name', { exact: true }).fill(`Olive ${turn}`);
      const saved = page.waitForResponse((answer) => answer.request().method() === 'POST' && answer.url().includes('/settings/profile'));
      await page.getByRole('button', { name: 'Save' }).first().click();
      assert.ok((await saved).status() < 400, `turn ${turn}`);
      await page.getByRole('status').getByText('Your profile was saved.').last().waitFor();
    }
    assert.equal(used.size, 5, 'each token was good for one change');
  });
});
