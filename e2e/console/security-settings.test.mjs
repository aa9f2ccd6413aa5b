// Settings → Security as an owner uses it, and what each setting then does: to other networks, to sessions, to forms, to
// passwords, to keys.

import assert from 'node:assert/strict';
import { after, afterEach, before, suite, test } from 'node:test';

import { call } from '../lib/call.mjs';
import { OWNER, joinAs, knock, signIn, startChromium, startConsole } from '../lib/console.mjs';

const LIMIT = { timeout: 120_000 };
const CONFIG = 'security:\n  managed_by: console\n  session:\n    timeout: 4h\n';
const PAGE = '/settings/security';
const JO = { email: 'jo@acme.example', password: 'quiet Harbor 3 lantern, plum' };
/** Addresses of this machine: the office, and another network. */
const OFFICE = '127.0.0.1';
const ELSEWHERE = '127.0.0.2';

suite('the security settings', LIMIT, () => {
  let console_;
  let chromium;
  let owner;
  let wrong;

  before(async () => {
    console_ = await startConsole({ config: CONFIG, movesTime: true });
    chromium = await startChromium();
    ({ page: owner, wrong } = await chromium.person(console_.origin));
    await signIn(owner, OWNER, PAGE);
  });

  after(async () => {
    await chromium?.stop();
    await console_?.stop();
  });

  afterEach(() => assert.deepEqual(wrong, []));

  /** What the sign-in page answers to this network. */
  const doorFor = async (localAddress) => (await call('GET', `${console_.origin}/login`, { localAddress })).status;
  /** Saves a section, and waits until the page says so. */
  const save = async (section) => {
    const sent = owner.waitForResponse((answer) => answer.request().method() === 'POST' && answer.url().includes(PAGE));
    await section.getByRole('button', { name: 'Save', exact: true }).click();
    assert.equal((await sent).status(), 303);
    await owner.waitForLoadState('networkidle');
    await owner.getByRole('status').getByText('saved', { exact: false }).last().waitFor();
  };
  const form = (name) => owner.locator(`form[hx-post="${PAGE}/${name}"]`);
  const network = () => owner.locator('#ip-restrictions');
  const addRange = async (cidr, label) => {
    await owner.getByRole('button', { name: 'Add Range' }).click();
    const dialog = owner.locator('#add-range');
    await dialog.getByLabel('CIDR range').fill(cidr);
    await dialog.getByLabel('Label').fill(label);
    await dialog.getByRole('button', { name: 'Add', exact: true }).click();
    await network().locator('tbody tr', { hasText: label }).waitFor();
  };

  test('the sidebar leads to Settings, and its tab Security to the page (R2)', LIMIT, async () => {
    await owner.goto('/overview');
    await owner.locator('.sidebar').getByRole('link', { name: 'Settings', exact: true }).click();
    await owner.locator('main').getByRole('link', { name: 'Security', exact: true }).click();
    await owner.waitForURL(`**${PAGE}`);
    await owner.getByRole('heading', { name: 'Session Management' }).waitFor();
  });

  test('Add Range and Enforce Allowlist: another network gets 403 Forbidden, the office goes on (R41, R42)', LIMIT, async () => {
    await owner.goto(PAGE);
    await addRange(`${OFFICE}/32`, 'Office London');
    await save(network());
    assert.deepEqual([await doorFor(OFFICE), await doorFor(ELSEWHERE)], [200, 200], 'listed, and not enforced');
    await owner.getByRole('switch', { name: /Enforce Allowlist/ }).check();
    await owner.getByRole('button', { name: 'Preview who would be shut out' }).click();
    await owner.getByText('Nobody who is signed in now would be shut out.').waitFor();
    assert.equal(await doorFor(ELSEWHERE), 200, 'a preview changes nothing');
    await save(network());
    assert.deepEqual([await doorFor(OFFICE), await doorFor(ELSEWHERE)], [200, 403]);
    const api = (localAddress) => call('POST', `${console_.api}/v1/auth/login`, { body: OWNER, localAddress });
    assert.deepEqual([(await api(OFFICE)).status, (await api(ELSEWHERE)).status], [200, 403], 'the API too');
    await owner.getByRole('switch', { name: /Enforce Allowlist/ }).uncheck();
    await save(network());
    assert.equal(await doorFor(ELSEWHERE), 200);
  });

  test('Discard takes back what was put together and not saved', LIMIT, async () => {
    await owner.goto(`${PAGE}#network`);
    await addRange('198.51.100.0/24', 'A former office');
    await owner.locator('#preview').waitFor();
    await network().getByRole('link', { name: 'Discard' }).click();
    await owner.locator('#preview').waitFor({ state: 'detached' });
    const labels = () => network().locator('tbody tr').filter({ has: owner.getByRole('button', { name: /^Remove / }) }).allInnerTexts();
    const listed = (await labels()).join('\n');
    assert.ok(!listed.includes('A former office') && listed.includes('Office London'), listed);
    await save(network());
    assert.equal((await labels()).join('\n'), listed, 'nor is it saved with what comes after');
  });

  test('both lists are edited as text; a line that is no range is told beside it, and nothing is saved', LIMIT, async () => {
    await owner.goto(PAGE);
    await owner.getByText('Edit both lists as text').click();
    const deny = owner.getByLabel('Denylist', { exact: true });
    await deny.fill(`${ELSEWHERE}/32 A former office\nnot a range`);
    await network().getByRole('button', { name: 'Save', exact: true }).click();
    await network().locator('.field-error').getByText('Line 2').waitFor();
    assert.match(await deny.inputValue(), /not a range/, 'what was typed stays');
    assert.equal(await doorFor(ELSEWHERE), 200);
    await deny.fill(`${ELSEWHERE}/32 A former office\n198.51.100.0/24 Somebody else`);
    await save(network());
    assert.deepEqual([await doorFor(OFFICE), await doorFor(ELSEWHERE)], [200, 403]);
    assert.equal(await network().locator('tbody tr', { hasText: 'A former office' }).count(), 1);
    await owner.getByText('Edit both lists as text').click();
    await deny.fill('');
    await save(network());
    assert.equal(await doorFor(ELSEWHERE), 200);
  });

  test('Session Timeout of 15 minutes: 16 idle minutes lead back to the sign-in page (R23, R24)', LIMIT, async () => {
    for (const [choice, place] of [['1 hour', /\/settings\/profile$/], ['15 minutes', /\/login\?returnTo=.*&reason=timeout/]]) {
      await owner.goto(PAGE);
      await owner.getByRole('radio', { name: choice }).check();
      await owner.getByRole('switch', { name: /Idle Timeout/ }).check();
      await save(form('session'));
      const { page: idle } = await chromium.person(console_.origin);
      await signIn(idle, OWNER, '/settings/profile');
      console_.pass(16 * 60);
      await idle.goto('/settings/profile');
      assert.match(idle.url(), place, choice);
      console_.pass(0);
    }
    await owner.getByRole('radio', { name: '4 hours' }).check();
    await save(form('session'));
  });

  test('Token Rotation: Per Request, a token works for one change; Per Session, for all', LIMIT, async () => {
    // What somebody could do who has seen a token: send it a second time.
    const heard = () =>
      owner.evaluate(async () => {
        const { csrf_token: token } = await (await fetch('/api/session')).json();
        const send = () => fetch('/api/session/activity', { method: 'POST', headers: { 'x-keeptrusts-csrf-token': token } });
        return [(await send()).status, (await send()).status];
      });
    for (const [choice, statuses] of [['Per Request', [200, 403]], ['Per Session', [200, 200]]]) {
      await owner.goto(PAGE);
      await owner.getByRole('radio', { name: choice }).check();
      await save(form('csrf'));
      assert.deepEqual(await heard(), statuses, choice);
      await owner.goto('/settings/profile');
      for (const name of ['Olive O.', 'Olive Owner']) {
        await owner.getByLabel('Name', { exact: true }).fill(name);
        await owner.getByRole('button', { name: 'Save' }).first().click();
        await owner.getByRole('status').getByText('Your profile was saved.').last().waitFor();
        assert.equal(await owner.getByLabel('Name', { exact: true }).inputValue(), name, choice);
      }
    }
  });

  test('Password Policy: a test account shows that it is enforced (R78)', LIMIT, async () => {
    await joinAs(console_, chromium, JO, owner);
    const { page: jo } = await knock(console_, chromium, JO);
    const change = async (chosen) => {
      await jo.goto('/settings/profile');
      await jo.getByLabel('Current password').fill(JO.password);
      await jo.getByLabel('New password').fill(chosen);
      await jo.locator('form[hx-post="/settings/profile/password"]').getByRole('button').last().click();
    };
    await owner.goto(PAGE);
    await owner.getByLabel('Minimum Length').fill('20');
    await owner.getByRole('switch', { name: /Require Special Character/ }).check();
    await save(form('password'));
    await change('Otter4vexAzure9pl');
    await jo.locator('.field-error').getByText('use at least 20 characters').waitFor();
    assert.match(await jo.locator('.field-error').innerText(), /neither a letter nor a digit/);
    await change('vexing otter plumbs 4 Azure');
    await jo.waitForURL(/\/login\?reason=password_changed/);
    JO.password = 'vexing otter plumbs 4 Azure';
    await knock(console_, chromium, JO);
  });

  test('Key Restrictions: a call with a key that breaks them shows the effect (R146)', LIMIT, async () => {
    await owner.goto('/settings/access-keys');
    await owner.getByRole('button', { name: 'New key' }).first().click();
    const dialog = owner.locator('dialog[open]');
    await dialog.getByLabel('Name').fill('Nightly');
    await dialog.getByRole('button', { name: 'Make the key' }).click();
    const key = (await owner.locator('#secret').textContent()).trim();
    const use = async () => (await call('GET', `${console_.api}/v1/whoami`, { key })).status;
    assert.equal(await use(), 200, 'before');
    const demand = async (label, value) => {
      await owner.goto(PAGE);
      await owner.getByLabel(label).fill(value);
      await save(form('api-keys'));
    };
    await demand('IP Binding', '203.0.113.0/24');
    assert.equal(await use(), 403, 'from another network');
    await demand('IP Binding', `${OFFICE}/32`);
    assert.equal(await use(), 200, 'from a listed one');
    await demand('Rate Limiting', '1');
    await use();
    assert.equal(await use(), 429, 'too often');
  });

  test('Open audit log: each change is there, with what it was before and after', LIMIT, async () => {
    await owner.goto(PAGE);
    await owner.getByRole('link', { name: 'Open audit log' }).click();
    await owner.waitForURL('**/audit-log');
    await owner.goto('/audit-log?action=security.api_keys.updated');
    await owner.locator('main tbody a[href^="/audit-log/"]').first().click();
    await owner.getByText('max_requests_per_minute').first().waitFor();
  });

  test('whoever would lock themselves out is asked before anything is saved, and is locked out if that is meant', LIMIT, async () => {
    await owner.goto(PAGE);
    await owner.getByText('Edit both lists as text').click();
    await owner.getByLabel('Allowlist', { exact: true }).fill('203.0.113.0/24 Office London');
    await owner.getByRole('switch', { name: /Enforce Allowlist/ }).check();
    await network().getByRole('button', { name: 'Save', exact: true }).click();
    await owner.getByText('Nothing was saved: you would lock yourself out.').waitFor();
    assert.equal(await doorFor(OFFICE), 200, 'not yet');
    await owner.getByRole('checkbox', { name: /Shut out my own address/ }).check();
    const saved = owner.waitForResponse((answer) => answer.request().method() === 'POST');
    await network().getByRole('button', { name: 'Save', exact: true }).click();
    assert.equal((await saved).status(), 303);
    assert.equal(await doorFor(OFFICE), 403);
    const answer = await owner.goto(PAGE);
    assert.equal(answer.status(), 403);
  });
});
