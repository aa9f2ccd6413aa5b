// By keyboard alone, what an administrator does about other people: whoever asks for a gateway, what stands on the page of a
// member, who is not let in; and what the gateways recorded is narrowed and followed.

import assert from 'node:assert/strict';
import { after, afterEach, before, suite, test } from 'node:test';

import { enrolApp } from '../lib/authenticator.mjs';
import { call } from '../lib/call.mjs';
import { OWNER, hasComeIn, joinAs, knock, linkTo, signIn, startChromium, startConsole } from '../lib/console.mjs';
import { button, choose, press, reach, type } from '../lib/keyboard.mjs';
import { until } from '../lib/poll.mjs';

const LIMIT = { timeout: 180_000 };
const PASSWORD = 'quiet Harbor 3 lantern, plum';
const JO = { email: 'jo@acme.example', password: PASSWORD };
const KIM = { email: 'kim@acme.example', password: PASSWORD };

suite('other people by keyboard', LIMIT, () => {
  let console_;
  let chromium;
  let page;
  let wrong;

  before(async () => {
    console_ = await startConsole();
    chromium = await startChromium();
    ({ page, wrong } = await chromium.person(console_.origin));
    await signIn(page);
    await joinAs(console_, chromium, JO, page);
  });

  after(async () => {
    await chromium?.stop();
    await console_?.stop();
  });

  afterEach(() => assert.deepEqual(wrong, []));

  /** Somebody's page where they come to by signing in. */
  const enter = async (who) => (await knock(console_, chromium, who)).page;
  const pathOf = (page) => new URL(page.url()).pathname;
  const focused = () => page.evaluate(() => document.activeElement.id);
  const isSaid = (text) => page.getByRole('status').getByText(text).first().waitFor();

  /** Opens the page of a member from the list. */
  const openMember = async ({ email }) => {
    await page.goto('/settings/members');
    await press(page, page.getByRole('row').filter({ hasText: email }).getByRole('link'));
    await page.waitForURL('**/settings/members/usr_*');
  };

  test('a gateway is asked for, and the request is found by its name and closed', LIMIT, async () => {
    const jo = await enter(JO);
    assert.equal(pathOf(jo), '/request-setup');
    await type(jo, jo.getByLabel('What should they know?'), 'For the support team');
    await press(jo, button(jo, 'Ask the administrators'));
    await jo.getByText('You asked on').waitFor();
    await page.goto('/overview');
    await page.keyboard.press('Control+k');
    await page.keyboard.type('requests');
    await page.keyboard.press('Enter');
    await page.waitForURL('**/request-setup');
    await press(page, button(page.getByRole('row').filter({ hasText: 'For the support team' }), 'Close'));
    await page.getByRole('heading', { name: 'Nobody has asked' }).waitFor();
    assert.equal(await focused(), 'main');
    await jo.reload();
    await button(jo, 'Ask the administrators').waitFor();
  });

  test('a member gets another role', LIMIT, async () => {
    await openMember(JO);
    const role = page.getByLabel('What they are here');
    assert.equal(await role.inputValue(), 'member');
    await choose(page, role, 'Auditor');
    await press(page, button(page, 'Change the role'));
    await isSaid('The role was changed.');
    await page.locator('dd', { hasText: 'Auditor' }).waitFor();
    assert.equal(pathOf(await enter(JO)), '/overview');
  });

  test('the second factors of a member are removed, and the keyboard is where they were', LIMIT, async () => {
    const jo = await enter(JO);
    await jo.goto('/mfa/setup');
    await enrolApp(jo);
    assert.equal(pathOf(await enter(JO)), '/login/verify', 'the control');
    await openMember(JO);
    await press(page, button(page, 'Reset MFA…'));
    await type(page, page.locator('#reset-mfa').getByLabel('Reason'), 'They called me, and I know their voice');
    await page.keyboard.press('Enter');
    await isSaid('Their second factors were removed');
    assert.equal(await focused(), 'access-heading');
    assert.ok(hasComeIn((await enter(JO)).url()));
  });

  test('a member gets a temporary password, and replaces it', LIMIT, async () => {
    await openMember(JO);
    await press(page, button(page, 'Set'));
    await press(page, page.locator('#confirm-yes'));
    const temporary = (await page.locator('#secret').textContent()).trim();
    const jo = await enter({ ...JO, password: temporary });
    assert.equal(pathOf(jo), '/change-password');
    await type(jo, jo.getByLabel('New password'), 'vexing otter plumbs 4 Azure');
    await press(jo, button(jo, 'Change Password'));
    await jo.waitForURL(/\/login\?reason=password_changed/);
    await press(page, page.getByRole('link', { name: 'I have copied it' }));
    await page.waitForURL('**/settings/members/usr_*');
  });

  test('somebody who registers is not let in', LIMIT, async () => {
    const login = await call('POST', `${console_.api}/v1/auth/login`, { body: OWNER });
    const opened = await call('PATCH', `${console_.api}/v1/organization/security`, {
      key: JSON.parse(login.text).access_token,
      body: { registration: { self_registration: true } },
    });
    assert.equal(opened.status, 200, opened.text);
    const registered = await call('POST', `${console_.api}/v1/auth/register`, { body: { organization: 'acme', name: 'Kim', ...KIM } });
    assert.equal(registered.status, 202, registered.text);
    const { page: kim } = await chromium.person(console_.origin);
    await kim.goto(await linkTo(console_, KIM.email, '/verify-email'));
    await press(kim, button(kim, 'Confirm this address'));
    await kim.waitForURL('**/pending');

    await page.goto('/settings/members');
    const row = page.getByRole('row').filter({ hasText: KIM.email });
    await press(page, button(row, 'Reject'));
    await press(page, page.locator('#confirm-yes'));
    await isSaid('They were not let in');
    await row.waitFor({ state: 'detached' });
  });

  test('events are narrowed to a verdict, widened again, and followed without the keyboard losing its row', LIMIT, async () => {
    const send = (body) => call('POST', `${console_.gateway}/v1/chat/completions`, { body });
    const question = { model: 'echo', messages: [{ role: 'user', content: 'Hello' }] };
    assert.deepEqual([(await send(question)).status, (await send({ model: 'echo' })).status], [200, 422]);
    const rows = page.locator('#found tbody tr');
    const verdicts = () => rows.locator('.badge').allTextContents();
    await until('both events', 20_000, async () => {
      await page.goto('/events');
      return (await verdicts()).sort().join() === 'Allowed,Not served';
    });
    await choose(page, page.getByLabel('Verdict'), 'Blocked');
    await press(page, button(page, 'Show'));
    await page.waitForURL('**/events?*verdict=block*');
    assert.deepEqual(await verdicts(), ['Not served']);
    await press(page, page.getByRole('link', { name: 'Reset', exact: true }));
    await page.waitForURL((url) => url.pathname === '/events' && url.search === '');
    assert.equal(await rows.count(), 2);

    await press(page, page.getByRole('link', { name: 'Follow', exact: true }));
    await page.getByText('Following: new events appear by themselves.').waitFor();
    const link = rows.locator('a.cover').first();
    const id = await link.getAttribute('id');
    await reach(page, link);
    await send(question);
    await rows.nth(2).waitFor();
    assert.equal(await focused(), id);
    await press(page, page.locator(`[id="${id}"]`));
    await page.waitForURL(`**/events/${id}`);
    await page.goBack();
    await press(page, page.getByRole('link', { name: 'Stop following' }));
    await page.waitForURL((url) => url.pathname === '/events' && url.search === '');
  });
});
