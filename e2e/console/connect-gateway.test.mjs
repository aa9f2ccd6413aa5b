// A gateway of its own beside `kt up`: the line that the console prints is run as it stands, and chat goes through what it
// starts.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, symlinkSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { after, before, suite, test } from 'node:test';

import { faultsAtAnyWidth } from '../lib/axe.mjs';
import { answerIn, ask } from '../lib/chat.mjs';
import { signIn, startChromium, startConsole } from '../lib/console.mjs';
import { ktBinary } from '../lib/places.mjs';
import { until } from '../lib/poll.mjs';
import { startTalker } from '../lib/talker.mjs';

const LIMIT = { timeout: 120_000 };

suite('connecting a gateway by the guided set-up', LIMIT, () => {
  const directory = mkdtempSync(join(tmpdir(), 'keeptrusts-gateway-'));
  let provider;
  let console_;
  let chromium;
  let gateway;

  before(async () => {
    symlinkSync(ktBinary(), join(directory, 'kt'));
    provider = await startTalker();
    console_ = await startConsole();
    chromium = await startChromium();
  });

  after(async () => {
    if (gateway?.exitCode === null) {
      // The shell and what it started.
      process.kill(-gateway.pid);
      await once(gateway, 'close');
    }
    await chromium?.stop();
    await console_?.stop();
    provider?.stop();
    rmSync(directory, { recursive: true, force: true });
  });

  /** Runs a line as somebody does who pastes it into a shell. */
  const run = (line) => {
    const PATH = [directory, process.env.PATH].join(delimiter);
    const env = { ...process.env, PATH };
    const shell = spawn('/bin/sh', ['-c', line], { cwd: directory, env, detached: true, stdio: ['ignore', 'pipe', 'inherit'] });
    shell.stdout.resume();
    return shell;
  };

  test('the printed line starts a gateway that is seen to come, takes up what is published, and serves chat', LIMIT, async () => {
    const { page, wrong } = await chromium.person(console_.origin);
    await signIn(page, undefined, '/gateways');
    await page.getByRole('link', { name: 'Connect a gateway' }).first().click();
    await page.getByLabel('What people call it').fill('edge-1');
    await page.getByLabel('Where it will be reached').fill(`http://127.0.0.1:${await freePort()}`);
    await page.getByText('Nothing is rolled out yet that it could run').waitFor();
    const found = await faultsAtAnyWidth(page, 'the form');
    await page.getByRole('button', { name: 'Make the key' }).click();
    const sign = page.locator('#sign');
    await sign.getByText('Waiting for the gateway to report').waitFor();
    const place = await sign.getAttribute('hx-get');
    found.push(...(await faultsAtAnyWidth(page, 'the line')));
    assert.deepEqual(found, []);
    gateway = run(await page.locator('#start').textContent());
    assert.equal(new URL(page.url()).pathname + new URL(page.url()).search, place, 'whoever loads it again sees whether it has come');
    await sign.getByText('Connected').waitFor();
    await page.reload();
    await sign.getByText('Connected').waitFor();
    const name = await sign.locator('code').first().textContent();
    await sign.getByText('It waits to be told what to run').waitFor();
    assert.equal(await sign.getByText('no address').count(), 0);

    await sign.getByRole('link', { name: 'Connect a provider' }).click();
    await page.getByLabel('Provider', { exact: true }).selectOption('custom');
    await page.getByLabel('Address of its API').fill(provider.url);
    await page.getByLabel('Model (empty lets applications choose)').fill('talker-1');
    await page.getByRole('button', { name: 'Continue' }).click();
    await page.getByRole('heading', { name: 'Who may call' }).waitFor();
    await page.getByRole('button', { name: 'Continue' }).click();
    await page.getByRole('button', { name: 'Publish' }).click();
    await until('both to run it', 20_000, async () => (await page.getByText('runs main@1').count()) === 2);
    await page.goto(place);
    await page.getByText('It will run main@1').waitFor();
    await sign.getByText('It runs main@1').waitFor();
    await sign.getByRole('link', { name: 'Roll out another version to it' }).click();
    await page.waitForURL('**/configurations/main/versions');

    // The one beside this server takes no more, so that every question goes through the other.
    await page.goto('/gateways');
    await page.locator('tbody tr').filter({ hasNotText: name }).locator('a.cover').click();
    await page.getByRole('button', { name: 'Drain' }).click();
    await page.locator('#confirm-yes').click();
    await page.locator('.badge', { hasText: 'Drained' }).waitFor();
    await page.goto('/chat');
    await ask(page, 'Good day', 'talker-1');
    const answer = await answerIn(page, 1);
    assert.match(await answer.innerText(), /You said: Good day/);
    await answer.locator('.decision summary').click();
    await answer.locator('.decision').getByRole('link').click();
    await page.waitForURL('**/events?request_id=*');
    await page.locator('#found').getByText(name).first().waitFor();
    assert.deepEqual(wrong, []);
  });
});

/** A port at which nobody listens. */
async function freePort() {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address();
  server.close();
  await once(server, 'close');
  return port;
}
