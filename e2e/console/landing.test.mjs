// Where people begin who ask for no page, as others come and go.

import assert from 'node:assert/strict';
import { after, before, suite, test } from 'node:test';

import { OWNER, joinAs, knock, startChromium, startConsole } from '../lib/console.mjs';

const LIMIT = { timeout: 120_000 };
const ADA = { email: 'ada@acme.example', password: 'quiet Harbor 3 lantern, plum', role: 'admin' };

suite('where people begin', LIMIT, () => {
  let console_;
  let chromium;

  before(async () => {
    console_ = await startConsole();
    chromium = await startChromium();
  });

  after(async () => {
    await chromium?.stop();
    await console_?.stop();
  });

  /** Somebody's page where they come to who signs in and asks for none. */
  const enter = async (who) => (await knock(console_, chromium, who)).page;

  const pathOf = (page) => new URL(page.url()).pathname;

  /** Opens the page of a member from the list. */
  const openMember = async (page, { email }) => {
    await page.goto('/settings/members');
    await page.locator('tr', { hasText: email }).locator('a.cover').click();
    await page.getByText(email).first().waitFor();
  };

  test('the only one who is active begins in chat, whoever came first', LIMIT, async () => {
    await joinAs(console_, chromium, ADA);
    const owner = await enter(OWNER);
    assert.equal(pathOf(owner), '/chat', 'the first administrator');
    await openMember(owner, ADA);
    await owner.getByLabel('What they are here').selectOption('owner');
    await owner.getByRole('button', { name: 'Change the role' }).click();
    await owner.locator('dd', { hasText: 'Owner' }).waitFor();
    const ada = await enter(ADA);
    assert.equal(pathOf(ada), '/overview', 'somebody else is active');
    await openMember(ada, OWNER);
    await ada.getByRole('button', { name: 'Suspend' }).click();
    await ada.locator('#confirm-yes').click();
    await ada.getByRole('button', { name: 'Reactivate' }).waitFor();
    assert.equal(pathOf(await enter(ADA)), '/chat');
  });
});
