// From an empty data directory to a governed request: the guided set-up, with the built-in provider and with one that
// speaks OpenAI's API.

import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { after, before, suite, test } from 'node:test';

import { faultsAtAnyWidth } from '../lib/axe.mjs';
import { OWNER, signIn, startChromium, startConsole } from '../lib/console.mjs';
import { until } from '../lib/poll.mjs';

const LIMIT = { timeout: 120_000 };
const KEY = 'sk-canary-end-to-end-90125';

/** A provider that speaks as much of OpenAI's API as this takes; `seen` are the requests that it was sent. */
async function startProvider() {
  const seen = [];
  const server = createServer((request, response) => {
    const chunks = [];
    request.on('data', (chunk) => chunks.push(chunk));
    request.on('end', () => {
      seen.push({ path: request.url, key: request.headers.authorization, body: Buffer.concat(chunks).toString() });
      const isRight = request.headers.authorization === `Bearer ${KEY}`;
      const models = { object: 'list', data: [{ id: 'stand-in', object: 'model' }] };
      const message = { role: 'assistant', content: 'Good day.' };
      const completion = { id: 'c', object: 'chat.completion', model: 'stand-in', choices: [{ index: 0, message, finish_reason: 'stop' }] };
      const body = request.url === '/v1/models' ? models : completion;
      response.writeHead(isRight ? 200 : 401, { 'content-type': 'application/json' });
      response.end(JSON.stringify(isRight ? body : { error: { message: 'no' } }));
    });
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  return { seen, url: `http://127.0.0.1:${server.address().port}/v1`, stop: () => server.close() };
}

function chat(gateway, key, model) {
  const headers = { 'content-type': 'application/json', ...(key && { authorization: `Bearer ${key}` }) };
  const body = JSON.stringify({ model, messages: [{ role: 'user', content: 'Hello' }] });
  return fetch(`${gateway}/v1/chat/completions`, { method: 'POST', headers, body });
}

/** The configuration version in the event of this answer. */
async function versionOf({ admin }, answer) {
  const id = answer.headers.get('x-kt-request-id');
  const event = await until('the event', 10_000, async () => {
    const found = await (await fetch(`${admin}/v1/events?request_id=${id}`)).json();
    return found.events[0];
  });
  return event.config_version;
}

/** Proves who one is, where the console asks for it. */
async function proveIfAsked(page, done) {
  const dialog = page.locator('dialog#prove[open]');
  await Promise.race([done.waitFor(), dialog.waitFor()]);
  if (await dialog.isVisible()) {
    await dialog.getByLabel('Password').fill(OWNER.password);
    await dialog.getByRole('button', { name: 'Confirm' }).click();
    await done.waitFor();
  }
}

suite('connecting a provider by the guided set-up', LIMIT, () => {
  let console_;
  let chromium;
  let provider;

  before(async () => {
    console_ = await startConsole();
    chromium = await startChromium();
    provider = await startProvider();
  });

  after(async () => {
    provider?.stop();
    await chromium?.stop();
    await console_?.stop();
  });

  test('an empty gateway answers by echo, and follows what is published with it', LIMIT, async () => {
    const { page, wrong } = await chromium.person(console_.origin);
    assert.equal((await chat(console_.gateway, null, 'echo')).status, 200, 'anybody can try it before');
    await signIn(page);
    await page.goto('/setup/provider');
    await page.getByLabel('Provider', { exact: true }).selectOption('echo');
    await page.getByRole('button', { name: 'Continue' }).click();
    await page.getByRole('heading', { name: 'Who may call' }).waitFor();
    const found = await faultsAtAnyWidth(page, 'the rules');
    await page.getByRole('button', { name: 'Continue' }).click();
    await page.getByRole('button', { name: 'Publish' }).waitFor();
    found.push(...(await faultsAtAnyWidth(page, 'the review')));
    await page.getByRole('button', { name: 'Publish' }).click();
    await proveIfAsked(page, page.getByText('runs main@1'));
    await page.getByRole('button', { name: 'Make a key and show the line' }).click();
    await page.locator('#curl').waitFor();
    found.push(...(await faultsAtAnyWidth(page, 'the last step')));
    assert.deepEqual(found, []);
    const line = await page.locator('#curl').textContent();
    const key = /kt_ak_\w+/.exec(line)[0];
    assert.ok(line.includes(`${console_.gateway}/v1/chat/completions`), line);
    assert.equal((await chat(console_.gateway, null, 'echo')).status, 401, 'now a key is asked for');
    const answer = await until('the key to be let in', 10_000, async () => {
      const answered = await chat(console_.gateway, key, 'echo');
      return answered.status === 200 && answered;
    });
    assert.equal(await versionOf(console_, answer), 'main@1');
    assert.deepEqual(wrong, []);
  });

  test('a provider is tried, published and asked with its own key, which nobody sees again', LIMIT, async () => {
    const { page, wrong } = await chromium.person(console_.origin);
    await signIn(page);
    await page.goto('/setup/provider');
    await page.getByLabel('Provider', { exact: true }).selectOption('custom');
    await page.getByLabel('Address of its API').fill(provider.url);
    await page.getByLabel('Its key').fill('sk-wrong');
    await page.getByRole('button', { name: 'Try it' }).click();
    await page.getByText('The provider refuses this key').first().waitFor();
    await page.getByLabel('Its key').fill(KEY);
    await page.getByRole('button', { name: 'Try it' }).click();
    await page.getByText('It answers. Models that it offers: 1.').waitFor();
    assert.equal(await page.getByLabel('Its key').inputValue(), KEY, 'what was typed stays');
    await page.getByRole('button', { name: 'Continue' }).click();
    await page.getByText('The key is stored as custom.').waitFor();
    await page.getByRole('button', { name: 'Continue' }).click();
    await page.getByRole('heading', { name: 'The configuration' }).waitFor();
    assert.ok(!(await page.content()).includes(KEY));
    await page.getByRole('heading', { name: 'What it changes from main@1' }).waitFor();
    await page.locator('tr.removed', { hasText: 'echo' }).first().waitFor();
    await page.getByRole('button', { name: 'Publish' }).click();
    await page.getByText('in place of what they are told to run now').waitFor();
    assert.equal(await page.getByText('runs main@2').count(), 0, 'nothing is replaced without a word');
    await page.locator('#confirm-yes').click();
    await page.getByText('runs main@2').waitFor();
    await page.getByRole('button', { name: 'Make a key and show the line' }).click();
    const key = /kt_ak_\w+/.exec(await page.locator('#curl').textContent())[0];
    const answer = await until('the key to be let in', 10_000, async () => {
      const answered = await chat(console_.gateway, key, 'stand-in');
      return answered.status === 200 && answered;
    });
    assert.equal((await answer.json()).choices[0].message.content, 'Good day.');
    assert.equal(await versionOf(console_, answer), 'main@2');
    assert.equal(provider.seen.at(-1).key, `Bearer ${KEY}`);

    await page.goto('/configurations/main/versions/1');
    await page.getByRole('heading', { name: 'What it changes from main@2' }).waitFor();
    await page.getByRole('button', { name: 'Roll out' }).click();
    await page.locator('dialog[open]').getByRole('button').last().click();
    await page.waitForURL('**/gateways?live=on');
    await page.locator('td', { hasText: 'main@1' }).first().waitFor();
    assert.deepEqual(wrong, []);
  });

  test('a gateway is drained and resumed by a click', LIMIT, async () => {
    const { page, wrong } = await chromium.person(console_.origin);
    await signIn(page, OWNER, '/gateways');
    await page.locator('td a.cover').first().click();
    await page.getByRole('button', { name: 'Drain' }).click();
    await page.locator('dialog[open]').getByRole('button').last().click();
    const ready = async () => (await fetch(`${console_.admin}/readyz`)).status;
    await until('the gateway to stand aside', 10_000, async () => (await ready()) === 503);
    await page.getByRole('button', { name: 'Resume' }).click();
    await until('the gateway to be ready', 10_000, async () => (await ready()) === 200);
    assert.deepEqual(wrong, []);
  });
});
