// Chat and tasks in a real Chromium, through a real gateway: to a model that can be slow, and to the built-in echo.

import assert from 'node:assert/strict';
import { after, before, suite, test } from 'node:test';

import { faultsAtAnyWidth } from '../lib/axe.mjs';
import { answerIn, ask, readAtLength } from '../lib/chat.mjs';
import { OWNER, signIn, startChromium, startConsole } from '../lib/console.mjs';
import { until } from '../lib/poll.mjs';
import { startTalker } from '../lib/talker.mjs';

const LIMIT = { timeout: 180_000 };
const HOSTILE = [
  '<script>document.title = "owned"</script>',
  '<img src=x onerror=\'document.title = "owned"\'>',
  '<svg onload=\'document.title = "owned"\'>',
  '[click](javascript:document.title=1)',
  '![picture](https://evil.example/picture.png)',
  '<style>* { display: none }</style>',
  '[guide](https://example.com/guide)',
].join('\n\n');

const REFUSAL = JSON.stringify({ error: { code: 'being_answered', message: 'Somebody else is asking.' } });

const policyConfig = (url) => `
pack: { name: workspaces, version: 1.0.0, enabled: true }
providers:
  targets:
    - { id: local, provider: "openai:chat:talker-1", base_url: "${url}" }
    - { id: built-in, provider: echo }
policies:
  chain: [pii-detector]
policy:
  pii-detector: { action: block, entities: [email], phases: [request] }
`;

suite('the workspaces', LIMIT, () => {
  let provider;
  let console_;
  let chromium;
  let owner;

  before(async () => {
    provider = await startTalker();
    console_ = await startConsole({ policyConfig: policyConfig(provider.url) });
    chromium = await startChromium();
    owner = await chromium.person(console_.origin);
    await signIn(owner.page);
  });

  after(async () => {
    await chromium?.stop();
    await console_?.stop();
    provider?.stop();
  });

  test('a question is answered, and the gateway’s decision stands beside the answer', LIMIT, async () => {
    const { page } = owner;
    await page.goto('/chat');
    await ask(page, 'What is **bold**?', 'talker-1');
    const answer = await answerIn(page, 1);
    assert.equal(await answer.locator('.prose').innerHTML(), '<p>You said: What is <strong>bold</strong>?</p>\n');
    assert.match(page.url(), /\/chat\/cnv_/);
    const decision = answer.locator('.decision');
    await decision.locator('summary').click();
    for (const part of ['Allowed', 'local', 'talker-1', 'pii-detector', '5 + 7']) {
      assert.match(await decision.innerText(), new RegExp(part.replace('+', '\\+')), part);
    }
    await decision.getByRole('link').click();
    await page.getByText('talker-1').first().waitFor();
    assert.match(page.url(), /\/events\?request_id=/);
  });

  test('a policy’s refusal is explained, and the conversation goes on', LIMIT, async () => {
    const { page } = owner;
    await page.goto('/chat');
    const before = provider.seen.requests;
    await ask(page, 'Write to olive@acme.example', 'talker-1');
    await page.getByText('The policy pii-detector did not let this pass').waitFor();
    assert.equal(provider.seen.requests, before, 'the model has not seen it');
    await ask(page, 'Thank you', 'echo');
    const answer = await answerIn(page, 2);
    assert.match(await answer.innerText(), /Thank you/);
  });

  test('Stop ends the answer at the provider and keeps what had come', LIMIT, async () => {
    const { page } = owner;
    await page.goto('/chat');
    const left = provider.seen.left;
    await ask(page, 'Count slowly', 'talker-1');
    await page.getByText('word60', { exact: false }).first().waitFor();
    await page.getByRole('button', { name: 'Stop' }).click();
    await page.getByText('Stopped. What had come is kept.').waitFor();
    await until('the provider is left', 5000, () => provider.seen.left === left + 1);
    assert.match(await page.locator('#thread').innerText(), /word60/);
    await page.getByRole('button', { name: 'Retry' }).click();
    await page.getByText('word3 ', { exact: false }).last().waitFor();
    await page.getByRole('button', { name: 'Stop' }).click();
    await page.getByText('Stopped. What had come is kept.').waitFor();
    assert.equal(await page.locator('#thread .turn').count(), 1, 'the answer before is forgotten');
  });

  test('a part of a long answer is added to the last block alone, and a block stays short', LIMIT, async () => {
    const { page } = owner;
    await page.goto('/chat');
    const { parts, longest, removed } = await readAtLength(page);
    assert.ok(parts >= 20, `${parts} parts`);
    assert.equal(removed, 0, 'nothing that was shown is made anew');
    // The network puts parts together where the page is busy, and a part is never cut but once.
    assert.ok(longest < 50_000, `of 200,000 characters ${longest} in one block`);
  });

  test('an answer that is asked for again and refused leaves the one before', LIMIT, async () => {
    const { page } = owner;
    await page.goto('/chat');
    await ask(page, 'To be kept', 'echo');
    await (await answerIn(page, 1)).getByText('To be kept').first().waitFor();
    await page.route('**/retry', (route) => route.fulfill({ status: 409, contentType: 'application/json', body: REFUSAL }));
    await page.getByRole('button', { name: 'Retry' }).click();
    await page.getByText('Somebody else is asking.').waitFor();
    assert.equal(await page.locator('#thread .turn').count(), 1);
    assert.equal(await page.locator('#thread .answer .prose').isVisible(), true);
    await page.unroute('**/retry');
    await page.route('**/chat/*', (route) => (route.request().method() === 'POST' ? route.abort() : route.continue()));
    await ask(page, 'Lost on the way', 'echo');
    await page.waitForFunction(() => document.querySelector('#question').value === 'Lost on the way');
    assert.equal(await page.locator('#thread .turn').count(), 1);
    await page.unroute('**/chat/*');
  });

  test('a hostile answer stays text', LIMIT, async () => {
    const { page } = owner;
    await page.goto('/chat');
    await ask(page, HOSTILE, 'echo');
    const answer = await answerIn(page, 1);
    assert.equal(await answer.locator('script, img, svg:not(.icon), style, iframe').count(), 0);
    const links = await answer.locator('.prose a').evaluateAll((all) => all.map(({ href, rel, target }) => [href, rel, target]));
    assert.deepEqual(links, [
      ['https://evil.example/picture.png', 'noopener noreferrer', '_blank'],
      ['https://example.com/guide', 'noopener noreferrer', '_blank'],
    ]);
    assert.notEqual(await page.title(), 'owned');
    assert.match(await answer.innerText(), /<script>/);
  });

  test('a conversation is renamed and deleted', LIMIT, async () => {
    const { page } = owner;
    await page.goto('/chat');
    await ask(page, 'Short-lived', 'echo');
    await answerIn(page, 1);
    await page.getByRole('button', { name: 'Rename' }).click();
    await page.getByLabel('Title').fill('Called otherwise');
    await page.locator('#rename').getByRole('button', { name: 'Save' }).click();
    await page.getByRole('heading', { name: 'Called otherwise' }).waitFor();
    await page.getByRole('button', { name: 'Delete' }).click();
    await page.locator('#confirm-yes').click();
    await page.waitForURL((url) => url.pathname === '/chat');
    assert.equal(await page.locator('#talks').getByText('Called otherwise').count(), 0);
  });

  test('a run goes on while its server is killed and started again', LIMIT, async () => {
    const { page } = owner;
    await page.goto('/tasks');
    await page.getByRole('button', { name: 'New task' }).click();
    await page.getByLabel('Name').fill('Count');
    await page.locator('#add').getByLabel('Prompt').fill('Count {{how}} for me');
    await page.locator('#add').getByLabel('Model').selectOption('talker-1');
    await page.locator('#add').getByRole('button', { name: 'Save' }).click();
    await page.waitForURL('**/tasks/tsk_*');
    await page.getByLabel('how').fill('slowly');
    const before = provider.seen.requests;
    await page.locator('main form').getByRole('button', { name: 'Run' }).click();
    await page.waitForURL('**/runs/run_*');
    await until('the run begins', 10_000, () => provider.seen.requests === before + 1);
    await console_.kill();
    await console_.restart();
    await until('the run begins again', 60_000, () => provider.seen.requests === before + 2);
    await page.reload();
    await page.locator('#run-state .badge.good').first().waitFor({ timeout: 60_000 });
    assert.match(await page.locator('#run-state').innerText(), /begun 2 times/);
    assert.match(await page.locator('#run-state').innerText(), /word399/);
    assert.equal(provider.seen.requests, before + 2, 'and no more often');
  });

  test('a stranger who asks for a workspace signs in and comes back to it', LIMIT, async () => {
    for (const path of ['/chat', '/tasks']) {
      const { page } = await chromium.person(console_.origin);
      await page.goto(path);
      assert.equal(new URL(page.url()).searchParams.get('returnTo'), path);
      await page.getByLabel('E-mail').fill(OWNER.email);
      await page.getByLabel('Password', { exact: true }).fill(OWNER.password);
      await page.getByRole('button', { name: 'Sign in', exact: true }).click();
      await page.waitForURL((url) => url.pathname === path);
    }
  });

  test('conversations and runs have no fault that axe finds, and fit a phone', LIMIT, async () => {
    const { page } = owner;
    const first = async (list, links) => {
      await page.goto(list);
      return page.locator(links).first().getAttribute('href');
    };
    const task = await first('/tasks', 'a[href^="/tasks/tsk_"]');
    const places = [await first('/chat', 'a[href^="/chat/cnv_"]'), task, await first(task, 'a[href*="/runs/run_"]')];
    const found = [];
    await page.goto(places[0]);
    const [list, talk] = await Promise.all(['.talks a', '.talk'].map((part) => page.locator(part).first().boundingBox()));
    if (list.x + list.width > talk.x) found.push('the list of conversations lies on the conversation');
    for (const place of places) {
      await page.goto(place);
      found.push(...(await faultsAtAnyWidth(page, place)));
    }
    assert.deepEqual(found, []);
  });

  test('no page of it has done what it must not', LIMIT, () => assert.deepEqual(owner.wrong, []));
});
