// The states that the console's pages have besides the one in which each opens, and how each comes about: for whoever takes
// their pictures, looks for faults in them, or measures them.

import { codeOf } from './authenticator.mjs';
import { call } from './call.mjs';
import { OF_MEMBERS, OF_OWNERS } from './console-pages.mjs';
import { OWNER, knock, linkTo, signIn, startConsole } from './console.mjs';

/** What `states` needs of the console that it is given, which must be furnished. */
export const STAGE = { config: 'security:\n  managed_by: console\n', movesTime: true };

const PASSWORD = 'quiet Harbor 3 lantern, plum';
/** Somebody who registers; furnishing has invited the other two. */
const KIM = { email: 'kim@acme.example', password: PASSWORD };
const BO = { email: 'bo@acme.example', password: PASSWORD };
const CY = { email: 'cy@acme.example', password: PASSWORD };

const MINUTE = 60;
const DESK = { width: 1280, height: 900 };
const PHONE = { width: 390, height: 844 };

/**
 * Brings about one state after the other, and gives of each its name and the page that is in it. The page may be given another
 * size and theme while it is looked at.
 */
export async function* states(console_, chromium) {
  yield* emptyPages(chromium);
  yield* waysIn(console_, chromium);
  const { page: owner } = await chromium.person(console_.origin);
  await signIn(owner);
  yield* frame(owner);
  yield* shownOnce(owner);
  yield* guidedSetUp(owner);
  yield* peopleOnTheirWayIn(console_, chromium, owner);
  yield* pagesByRole(console_, chromium);
  yield* secondFactor(console_, chromium);
  yield* ends(console_, chromium);
}

/** What is called so in the address of a page. */
export const nameOf = (path) => path.slice(1).split('?')[0].replaceAll('/', '-');

/** A deployment that is being set up, and its pages while nothing has happened. */
async function* emptyPages(chromium) {
  const empty = await startConsole({ owner: null });
  try {
    const { page } = await chromium.person(empty.origin);
    await page.goto(empty.setUpLink());
    yield ['set-up', page];
    await page.getByLabel('Name of the organization').fill('Acme');
    await page.getByLabel('Your name').fill('Olive Owner');
    await page.getByLabel('E-mail').fill(OWNER.email);
    await page.getByLabel('Password', { exact: true }).fill(OWNER.password);
    await page.getByRole('button', { name: 'Create the organization' }).click();
    await page.waitForURL(/\/login/);
    await signIn(page);
    for (const path of ['/overview', '/chat', '/tasks', '/usage', '/settings/access-keys', '/events', '/gateways', '/configurations', '/settings/members', '/settings/gateway-keys', '/settings/provider-credentials']) {
      await page.goto(path);
      yield [`empty-${nameOf(path)}`, page];
    }
  } finally {
    await empty.stop();
  }
}

/** The sign-in page when something is wrong, and a page that is not there. */
async function* waysIn({ origin }, chromium) {
  const { page } = await chromium.person(origin);
  await page.goto('/login');
  await page.getByLabel('E-mail').fill(OWNER.email);
  await page.getByLabel('Password', { exact: true }).fill('not this one');
  await page.keyboard.press('Enter');
  await page.getByRole('alert').waitFor();
  yield ['sign-in-refused', page];
  await page.goto('/login?returnTo=%2Foverview&reason=timeout');
  yield ['sign-in-after-a-time-out', page];
  await page.goto('/nowhere');
  yield ['nothing-here', page];
}

/** What the frame of every page holds: the palette, the menus, what is said and asked, and a failure. */
async function* frame(page) {
  await page.setViewportSize(DESK);
  await page.keyboard.press('Control+k');
  yield ['palette', page];
  await page.setViewportSize(DESK);
  await page.keyboard.type('no such page');
  await page.getByText('No page is called so.').waitFor();
  yield ['palette-without-a-find', page];
  await page.keyboard.press('Escape');
  for (const [name, menu] of [['organization-menu', '.org'], ['own-menu', '.me']]) {
    await page.goto('/overview');
    await page.setViewportSize(DESK);
    await page.locator(`.sidebar ${menu} summary`).click();
    yield [name, page];
  }
  await page.goto('/overview');
  await page.setViewportSize(PHONE);
  await page.getByRole('button', { name: 'Menu' }).click();
  yield ['opened-sidebar', page];
  await page.setViewportSize(DESK);
  // What is said stays.
  await page.addInitScript(() => {
    const later = globalThis.setTimeout;
    globalThis.setTimeout = (act, wait, ...rest) => (wait > 5000 ? 0 : later(act, wait, ...rest));
  });
  await page.goto('/settings/profile');
  await page.getByRole('button', { name: 'Save' }).click();
  await page.getByRole('status').getByText('Your profile was saved.').first().waitFor();
  yield ['toast', page];
  await signInElsewhere(page);
  await page.goto('/settings/profile');
  await page.getByRole('button', { name: 'End All Other Sessions' }).click();
  await page.locator('#confirm[open]').waitFor();
  yield ['are-you-sure', page];
  await page.goto('/nowhere');
  yield ['nothing-here-beside-the-menu', page];
  await page.goto('/settings/security');
  await page.evaluate(() => {
    for (const details of document.querySelectorAll('main details')) details.open = true;
  });
  yield ['security-to-be-changed', page];
}

/** Gives the owner another session, which can be ended. */
async function signInElsewhere(page) {
  const context = await page.context().browser().newContext({ baseURL: new URL(page.url()).origin });
  await signIn(await context.newPage());
  await context.close();
}

/** A key that is refused, and one that is shown. */
async function* shownOnce(page) {
  await page.setViewportSize(DESK);
  await page.goto('/settings/access-keys');
  await page.locator('[data-dialog="new-key"]').first().click();
  const dialog = page.locator('dialog[open]');
  await dialog.getByLabel('Name').fill('Nightly');
  await dialog.getByLabel('Addresses').fill('somewhere');
  await dialog.getByRole('button', { name: 'Make the key' }).click();
  await dialog.locator('.field-error').waitFor();
  yield ['key-refused', page];
  await dialog.getByLabel('Addresses').fill('203.0.113.0/24');
  await dialog.getByRole('button', { name: 'Make the key' }).click();
  await page.locator('#secret').waitFor();
  yield ['key-shown-once', page];
}

/** The later steps of connecting a provider. */
async function* guidedSetUp(page) {
  await page.setViewportSize(DESK);
  await page.goto('/setup/provider');
  await page.getByLabel('Provider', { exact: true }).selectOption('echo');
  await page.getByRole('button', { name: 'Continue' }).click();
  await page.getByRole('heading', { name: 'Who may call' }).waitFor();
  yield ['guided-rules', page];
  await page.getByRole('button', { name: 'Continue' }).click();
  await page.getByRole('button', { name: 'Publish' }).waitFor();
  yield ['guided-review', page];
  await page.getByRole('button', { name: 'Publish' }).click();
  const confirm = page.locator('#confirm-yes');
  const made = page.getByRole('button', { name: 'Make a key and show the line' });
  await confirm.or(made).filter({ visible: true }).first().waitFor();
  if (await confirm.isVisible()) await confirm.click();
  await made.waitFor();
  yield ['guided-published', page];
  await made.click();
  await page.locator('#curl').waitFor();
  yield ['guided-line', page];
}

/** Somebody registers, is approved with a temporary password, and replaces it; somebody else is invited. */
async function* peopleOnTheirWayIn(console_, chromium, owner) {
  await owner.setViewportSize(DESK);
  await owner.goto('/settings/organization');
  const registration = owner.locator('form[hx-post="/settings/organization/registration"]');
  await registration.getByRole('switch', { name: /Self-registration/ }).check();
  await registration.getByRole('button', { name: 'Save' }).click();
  await owner.getByText('Registration was changed.').waitFor();
  const { page } = await chromium.person(console_.origin);
  await page.goto('/register?organization=acme');
  await page.getByLabel('Your name').fill('Kim');
  await page.getByLabel('E-mail').fill(KIM.email);
  await page.getByLabel('Password', { exact: true }).fill('password');
  await page.getByText('Very weak').waitFor();
  yield ['register-with-a-weak-password', page];
  await page.getByLabel('Password', { exact: true }).fill(KIM.password);
  await page.getByRole('button', { name: 'Register' }).click();
  await page.waitForURL('**/verify-email');
  await page.goto(await linkTo(console_, KIM.email, '/verify-email'));
  yield ['verify-email-by-link', page];
  await page.locator('main form button').first().click();
  await page.waitForURL('**/pending');

  await owner.goto('/settings/members');
  await owner.locator('tr', { hasText: KIM.email }).getByRole('button', { name: 'Approve…' }).click();
  const dialog = owner.locator('dialog[open]');
  await dialog.waitFor();
  yield ['approval', owner];
  await dialog.getByRole('checkbox').check();
  await dialog.getByRole('button', { name: 'Approve' }).click();
  const temporary = (await owner.locator('#secret').textContent()).trim();
  yield ['temporary-password', owner];
  const { page: kim } = await knock(console_, chromium, { ...KIM, password: temporary });
  yield ['change-password', kim];
  await owner.goto('/settings/members');
  await owner.getByRole('link', { name: 'Kim', exact: true }).click();
  await owner.getByRole('button', { name: 'Suspend', exact: true }).click();
  await owner.locator('#confirm-yes').click();
  await owner.getByRole('button', { name: 'Reactivate' }).waitFor();
  yield ['suspended-member', owner];

  for (const { email, password } of [BO, CY]) {
    await page.goto(await linkTo(console_, email, '/register'));
    if (email === BO.email) yield ['register-by-invitation', page];
    await page.getByLabel('Your name').fill(email.split('@')[0]);
    await page.getByLabel('Password', { exact: true }).fill(password);
    await page.getByRole('button', { name: 'Make my account' }).click();
    await page.waitForURL(/\/login/);
  }
}

/** What a member and an auditor are shown of the pages, and what the member is not. */
async function* pagesByRole(console_, chromium) {
  for (const [role, who] of [['member', BO], ['auditor', CY]]) {
    const { page } = await knock(console_, chromium, who);
    for (const path of [...OF_MEMBERS, ...OF_OWNERS]) {
      const answer = await page.goto(path);
      if (answer.status() === 200) yield [`${nameOf(path)}-as-${role}`, page];
    }
  }
  const { page } = await knock(console_, chromium, BO);
  await page.goto('/settings/members');
  await page.getByRole('heading', { name: 'You may not do this' }).waitFor();
  yield ['not-for-members', page];
}

/** A second factor from the proof that adding it asks for to the sign-in that asks for it. */
async function* secondFactor(console_, chromium) {
  const { page } = await knock(console_, chromium, BO);
  await page.setViewportSize(DESK);
  console_.pass(11 * MINUTE);
  await page.goto('/mfa/setup');
  await page.getByRole('button', { name: 'Use an authenticator app' }).click();
  await page.locator('#prove[open]').waitFor();
  yield ['who-are-you', page];
  await page.locator('#prove').getByLabel('Password').fill(BO.password);
  await page.keyboard.press('Enter');
  const secret = await page.locator('#secret').textContent();
  yield ['authenticator-app', page];
  await page.getByLabel('Verification code').fill('000000');
  await page.keyboard.press('Enter');
  await page.locator('.field-error').waitFor();
  yield ['authenticator-app-with-a-wrong-code', page];
  await page.getByLabel('Verification code').fill(codeOf(secret, 11 * MINUTE));
  await page.keyboard.press('Enter');
  await page.getByRole('heading', { name: 'Save your recovery codes' }).waitFor();
  yield ['recovery-codes', page];
  const { page: again } = await chromium.person(console_.origin);
  await again.goto('/login');
  await again.getByLabel('E-mail').fill(BO.email);
  await again.getByLabel('Password', { exact: true }).fill(BO.password);
  await again.keyboard.press('Enter');
  await again.waitForURL('**/login/verify**');
  yield ['second-step', again];
  await again.getByText('Use a recovery code').click();
  yield ['second-step-by-recovery-code', again];
}

/** The notice before a session ends, by idleness and by age. */
async function* ends(console_, chromium) {
  let passed = 11 * MINUTE;
  for (const [name, idle] of [['end-by-idleness', true], ['end-by-age', false]]) {
    await demand(console_, { session: { timeout: '15m', idle } });
    const { page } = await chromium.person(console_.origin);
    await page.clock.install({ time: Date.now() + passed * 1000 });
    await signIn(page);
    passed += 14 * MINUTE + 5;
    console_.pass(passed);
    await page.clock.runFor('14:05');
    await page.clock.resume();
    await page.locator('#ending').waitFor();
    yield [name, page];
  }
}

/** Has the owner change the organization's security settings. */
async function demand({ api }, settings) {
  const { text } = await call('POST', `${api}/v1/auth/login`, { body: OWNER });
  const { status } = await call('PATCH', `${api}/v1/organization/security`, { key: JSON.parse(text).access_token, body: settings });
  if (status !== 200) throw new Error(`the settings were not changed: ${status}`);
}
