// The console in another language: not its labels alone, but also why it refuses something.

import assert from 'node:assert/strict';
import { after, before, suite, test } from 'node:test';

import { OWNER, startChromium, startConsole } from '../lib/console.mjs';

const LIMIT = { timeout: 120_000 };

suite('the console in German', LIMIT, () => {
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

  const LANGUAGES = [
    ['de-DE', 'Die Adresse oder das Passwort stimmt nicht', 'verwenden Sie mindestens 12 Zeichen', 'Zeile 1:'],
    ['en-GB', 'The address or the password is not right', 'use at least 12 characters', 'Line 1:'],
  ];
  for (const [locale, refused, judged, line] of LANGUAGES) {
    test(`refusals are told in the language of ${locale}`, LIMIT, async () => {
      const { page, wrong } = await chromium.person(console_.origin, { locale });
      await page.goto('/login?returnTo=%2Fsettings%2Fsecurity');
      await page.locator('#email').fill(OWNER.email);
      await page.locator('input[name="password"]').fill('not this one');
      await page.keyboard.press('Enter');
      await page.getByRole('alert').getByText(refused).waitFor();
      await page.locator('input[name="password"]').fill(OWNER.password);
      await page.keyboard.press('Enter');
      await page.waitForURL('**/settings/security');
      await page.locator('#ip-restrictions details').first().evaluate((details) => (details.open = true));
      await page.locator('#deny').fill('nowhere');
      await page.locator('form[hx-post="/settings/security/ip-restrictions"] button.primary').click();
      await page.locator('.field-error').getByText(line).waitFor();
      await page.goto('/settings/profile');
      await page.locator('#new_password').fill('acme');
      await page.locator('[data-strength] .help').getByText(judged).waitFor();
      assert.deepEqual(wrong, []);
    });
  }
});
