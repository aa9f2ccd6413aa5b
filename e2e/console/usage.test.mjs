// What was used and what it cost, as people look at it: charts, their tables, the rankings, and the copies.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, before, suite, test } from 'node:test';

import { faultsAtAnyWidth } from '../lib/axe.mjs';
import { answerIn, ask } from '../lib/chat.mjs';
import { joinAs, signIn, startChromium, startConsole } from '../lib/console.mjs';
import { until } from '../lib/poll.mjs';
import { startTalker } from '../lib/talker.mjs';

const LIMIT = { timeout: 120_000 };
const JO = { email: 'jo@acme.example', password: 'quiet Harbor 3 lantern, plum' };
const DAY = 24 * 3_600;

// A question has 5 tokens and its answer 7, so that it costs 0.000005 + 0.000014.
const policyConfig = (url) => `
pack: { name: usage, version: 1.0.0 }
providers: { targets: [{ id: local, provider: "openai:chat:talker-1", base_url: "${url}" }] }
policies: { chain: [audit-logger] }
prices: { currency: EUR, models: [{ model: "*", input: 1, output: 2 }] }
budgets:
  - { id: house, per: total, period: month, cost: "0.0001", max_output_tokens: 50 }
  - { id: each, per: model, period: day, tokens: 48 }
`;

suite('usage', LIMIT, () => {
  let provider;
  let console_;
  let chromium;
  let owner;
  let jo;

  before(async () => {
    provider = await startTalker();
    console_ = await startConsole({ policyConfig: policyConfig(provider.url), movesTime: true });
    chromium = await startChromium();
    owner = await chromium.person(console_.origin);
    await signIn(owner.page);
    await joinAs(console_, chromium, JO, owner.page);
  });

  after(async () => {
    await chromium?.stop();
    await console_?.stop();
    provider?.stop();
  });

  const chat = async (page, questions) => {
    // A gateway that was last heard of a day ago is heard of again in a moment.
    await until('the chat is open', 15_000, async () => {
      await page.goto('/chat');
      return (await page.getByLabel('Your question').count()) === 1;
    });
    for (let count = 1; count <= questions; count += 1) {
      await ask(page, `Question ${count}`);
      await answerIn(page, count);
    }
  };

  /** Opens the page again and again until it shows so many requests; an event is on its way for a moment. */
  const shown = (page, requests) =>
    until(`${requests} requests`, 15_000, async () => {
      await page.goto('/usage');
      const card = page.locator('.figure', { hasText: 'Requests' }).locator('b');
      return (await card.count()) === 1 && (await card.innerText()) === String(requests);
    });

  const rows = (table) => table.locator('tbody tr').evaluateAll((all) => all.map((row) => [...row.cells].map((cell) => cell.innerText.trim())));

  test('two days of two people are drawn, told in tables, ranked, and copied out', LIMIT, async () => {
    const { page } = owner;
    await page.goto('/usage');
    await page.getByText('Nothing was used in this time').waitFor();
    await chat(page, 3);
    await shown(page, 3);
    console_.pass(DAY);
    jo = await chromium.person(console_.origin);
    await signIn(jo.page, JO);
    await chat(jo.page, 2);
    await page.goto('/login');
    await signIn(page, undefined, '/usage');
    await shown(page, 5);

    for (const [title, heights] of [['Tokens a day', 4], ['Cost a day', 2]]) {
      const chart = page.locator('figure', { has: page.getByRole('heading', { name: title }) });
      const bars = await chart.locator('rect.bar').evaluateAll((all) => all.map((bar) => bar.getBoundingClientRect().height));
      assert.equal(bars.filter((height) => height > 1).length, heights, title);
      await chart.getByText('As a table').click();
      const used = (await rows(chart.locator('table'))).filter(([, ...values]) => values.some((value) => /[1-9]/.test(value)));
      const told = used.map(([, ...values]) => values);
      assert.deepEqual(told, title === 'Tokens a day' ? [['10', '14'], ['15', '21']] : [['0.000038'], ['0.000057']]);
    }
    const people = await rows(page.getByRole('group', { name: 'Members' }).locator('table'));
    assert.deepEqual(people.map(([, requests, input, output, cost]) => [requests, input, output, cost]), [
      ['3', '15', '21', '0.000057 EUR'],
      ['2', '10', '14', '0.000038 EUR'],
    ]);

    const budgets = await rows(page.getByRole('group', { name: 'Budgets' }).locator('table'));
    const told = budgets.map(([budget, whose, tokens, cost, used]) => [budget.split(/\s/)[0], whose, tokens, cost, used]);
    assert.deepEqual(told, [
      ['house', 'Everybody together', '', '0.000095 / 0.0001 EUR', '95 %'],
      ['each', '*', '24 / 48', '', '50 %'],
    ]);

    await page.getByRole('button', { name: 'Export' }).click();
    const download = page.waitForEvent('download');
    await page.getByRole('link', { name: 'By day', exact: true }).click();
    const csv = readFileSync(await (await download).path(), 'utf8').trim().split(/\r?\n/);
    assert.equal(csv.length, 3, csv.join('\n'));
    assert.ok(csv.slice(1).every((line) => /^"?\d{4}-\d\d-\d\d/.test(line)), csv.join('\n'));
  });

  test('a member sees their own alone', LIMIT, async () => {
    await shown(jo.page, 2);
    await jo.page.getByText('What you have used through the gateways').waitFor();
    assert.ok(!(await jo.page.content()).includes('olive'));
  });

  test('has no fault that axe finds, in light and dark, on a desk and on a phone, its tables open', LIMIT, async () => {
    const { page } = owner;
    await page.goto('/usage');
    for (const table of await page.getByText('As a table').all()) await table.click();
    assert.deepEqual(await faultsAtAnyWidth(page, '/usage'), []);
    await page.goto('/gateways');
    await page.locator('tbody a').first().click();
    await page.getByText('Show the configuration').click();
    await page.getByText('openai:chat:talker-1').waitFor();
    assert.deepEqual(await faultsAtAnyWidth(page, '/gateways/ID'), []);
    assert.deepEqual([...owner.wrong, ...jo.wrong], []);
  });
});
