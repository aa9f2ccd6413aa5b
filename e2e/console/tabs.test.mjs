// What a page does that its reader has forgotten, clicked twice, or is about to leave with something unsaved.

import assert from 'node:assert/strict';
import { after, before, suite, test } from 'node:test';

import { OWNER, joinAs, signIn, startChromium, startConsole } from '../lib/console.mjs';

const LIMIT = { timeout: 180_000 };
const JO = { email: 'jo@acme.example', password: 'slow maple 4 Harbour, humming wren' };

suite('a page', LIMIT, () => {
  let console_;
  let chromium;

  before(async () => {
    console_ = await startConsole();
    chromium = await startChromium();
    await joinAs(console_, chromium, JO);
  });

  after(async () => {
    await chromium?.stop();
    await console_?.stop();
  });

  const name = (page) => page.getByLabel('Name', { exact: true });
  const save = (page) => page.getByRole('button', { name: 'Save' }).first().click();
  const isSaved = (page) => page.getByRole('status').getByText('Your profile was saved.').last().waitFor();

  test('that was made for one account changes nothing of another who has signed in since', LIMIT, async () => {
    const { page: left, context, wrong } = await chromium.person(console_.origin);
    await signIn(left, OWNER, '/settings/profile');
    await context.clearCookies();
    const other = await context.newPage();
    await signIn(other, JO, '/settings/profile');

    await name(left).fill('Olive Owner');
    const answered = left.waitForResponse((answer) => answer.request().method() === 'POST' && answer.url().endsWith('/settings/profile'));
    await save(left);
    assert.equal((await answered).status(), 409);
    await left.getByText('You are signed in as somebody else now. Reload the page.').waitFor();
    await other.reload();
    assert.equal(await name(other).inputValue(), 'jo');

    await left.reload();
    assert.equal(await name(left).inputValue(), 'jo');
    await name(left).fill('Jo');
    await save(left);
    await isSaved(left);
    assert.deepEqual(wrong, []);
  });

  test('makes one thing where a button is clicked twice, and another one when asked again', LIMIT, async () => {
    const { page, wrong } = await chromium.person(console_.origin);
    await signIn(page, OWNER, '/settings/access-keys');
    const made = [];
    page.on('response', (answer) => answer.request().method() === 'POST' && answer.url().endsWith('/settings/access-keys') && made.push(answer.status()));
    for (const label of ['nightly', 'weekly']) {
      await page.goto('/settings/access-keys');
      await page.getByRole('button', { name: 'New key' }).first().click();
      const dialog = page.locator('dialog[open]');
      await dialog.getByLabel('Name').fill(label);
      await dialog.getByRole('button', { name: 'Make the key' }).dblclick();
      await page.locator('#secret').waitFor();
    }
    await page.goto('/settings/access-keys');
    for (const label of ['nightly', 'weekly']) {
      assert.equal(await page.locator('tbody').getByText(label, { exact: true }).count(), 1, label);
    }
    assert.equal(made.length, 2);
    assert.deepEqual(wrong, []);
  });

  test('asks before an edited configuration is left, and not once it is saved', LIMIT, async () => {
    const { page, wrong } = await chromium.person(console_.origin);
    await signIn(page, OWNER, '/configurations/new');
    const asked = [];
    page.on('dialog', (dialog) => {
      asked.push(dialog.type());
      return dialog.accept();
    });
    await page.goto('/overview');
    assert.deepEqual(asked, [], 'the control: nothing was edited');

    await page.goto('/configurations/new');
    const text = page.getByLabel('policy-config.yaml');
    await text.fill(`${await text.inputValue()}\n# mine\n`);
    await page.getByRole('button', { name: 'Check' }).click();
    await page.locator('#judged').waitFor();
    await page.goto('/overview');
    assert.deepEqual(asked, ['beforeunload'], 'a text that was only checked is not saved');

    await page.goto('/configurations/new');
    await page.getByLabel('Name', { exact: true }).fill('mine');
    await text.fill(`${await text.inputValue()}\n# mine\n`);
    await page.getByRole('button', { name: 'Save as a version' }).click();
    await page.waitForURL('**/configurations/mine/versions**');
    await page.goto('/overview');
    assert.deepEqual(asked, ['beforeunload']);
    assert.deepEqual(wrong, []);
  });
});
