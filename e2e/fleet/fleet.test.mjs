// Two control planes and two gateways over one PostgreSQL and one Redis: to whoever uses them they are one, and none of them is
// missed for longer than it takes to start it again. Each test goes on where the one before it ended.

import assert from 'node:assert/strict';
import { after, before, suite, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';

import { call } from '../lib/call.mjs';
import { ask } from '../lib/chat.mjs';
import { startDeaf } from '../lib/deaf.mjs';
import { OWNER, signIn, startChromium } from '../lib/console.mjs';
import { ownerAt, startFleet } from '../lib/fleet.mjs';
import { until } from '../lib/poll.mjs';
import { startTalker } from '../lib/talker.mjs';

const LIMIT = { timeout: 180_000 };

/** How long all of it may take. */
const WHOLE_LIMIT = { timeout: 900_000 };

/** Within which time a revoked key stops at every gateway. */
const REVOKED_WITHIN_MS = 5_000;

/** How young a decision may be that a gateway killed with `kill -9` has not written down. */
const WRITTEN_WITHIN_MS = 100;

/** The tokens of the model `dear-1` that a day has; a question takes 12. */
const BUDGET = 400;
const EACH = 12;

/** How many words the provider has for a question that asks for them slowly; and the last one of what takes very long. */
const WORDS = 120;
const LAST_WORD = `word${4 * WORDS - 1}`;

const configuration = (url, version) => `
pack: { name: fleet, version: ${version} }
providers:
  targets:
    - { id: local, provider: "openai:chat:talker-1", base_url: "${url}" }
    - { id: dear, provider: "openai:chat:dear-1", base_url: "${url}" }
policies: { chain: [audit-logger] }
prices:
  currency: EUR
  models: [{ model: dear-1, input: 1, output: 1 }, { model: "*", input: 0, output: 0 }]
budgets: [{ id: dear, per: model, only: [dear-1], period: day, tokens: ${BUDGET} }]
`;

suite('a fleet', WHOLE_LIMIT, () => {
  let provider;
  let fleet;
  let chromium;
  let owners;
  let key;

  before(async () => {
    provider = await startTalker({ words: WORDS });
    fleet = await startFleet();
    chromium = await startChromium();
    owners = await Promise.all(fleet.servers.map(ownerAt));
  });

  after(async () => {
    await chromium?.stop();
    await fleet?.stop();
    provider?.stop();
  });

  const newKey = (owner, terms = {}) => owner('POST', '/v1/tokens', { type: 'access', name: 'Application', scope: 'write', ...terms });

  const chat = ({ groups }, bearer, { model = 'talker-1', stream = false, content = 'Hello' } = {}) => {
    const body = { model, stream, max_tokens: 7, messages: [{ role: 'user', content }] };
    return call('POST', `${groups.url}/v1/chat/completions`, { key: bearer, body });
  };

  /** Has every gateway asked so often at once; what they answer. */
  const atOnce = (times, bearer, what) =>
    Promise.all(Array.from({ length: times }, (_, index) => chat(fleet.gateways[index % 2], bearer, what)));

  const letIn = (gateway, bearer) => until('the key to be let in', 10_000, async () => (await chat(gateway, bearer)).status === 200);

  test('keys and configurations that are made at one control plane reach every gateway', LIMIT, async () => {
    const [one, other] = owners;
    const { key: token } = await one('POST', '/v1/tokens', { type: 'gateway', name: 'Edge', scope: 'write' });
    await other('POST', '/v1/configurations', { name: 'main', text: configuration(provider.url, '1.0.0') });
    await one('POST', '/v1/configurations/main/rollout', { version: 1 });
    await Promise.all([token, token].map(fleet.addGateway));
    const runs = async ({ groups }) => (await (await fetch(`${groups.admin}/keeptrusts/config`)).json()).config_version;
    assert.deepEqual(await Promise.all(fleet.gateways.map(runs)), ['main@1', 'main@1']);
    await other('POST', '/v1/configurations/main/versions', { text: configuration(provider.url, '2.0.0') });
    await other('POST', '/v1/configurations/main/rollout', { version: 2 });
    for (const gateway of fleet.gateways) await until('the second version', 10_000, async () => (await runs(gateway)) === 'main@2');

    const [first, second] = await Promise.all(owners.map((owner) => newKey(owner)));
    for (const gateway of fleet.gateways) {
      for (const made of [first, second]) await letIn(gateway, made.key);
    }
    await other('DELETE', `/v1/tokens/${first.id}`);
    for (const gateway of fleet.gateways) {
      await until('the key to be refused', REVOKED_WITHIN_MS, async () => (await chat(gateway, first.key)).status === 401);
      assert.equal((await chat(gateway, second.key)).status, 200, 'the other one goes on');
    }
    key = second.key;
  });

  test('the rate of a key and a budget are spent once by all gateways together', LIMIT, async () => {
    const limited = await newKey(owners[0], { requests_per_minute: 6 });
    for (const gateway of fleet.gateways) await letIn(gateway, limited.key);
    const answers = await atOnce(20, limited.key);
    assert.equal(answers.filter(({ status }) => status === 200).length, 4, 'two were used before');
    assert.equal((await atOnce(2, key)).filter(({ status }) => status === 200).length, 2, 'another key has its own');

    const what = { model: 'dear-1' };
    let paid = (await atOnce(60, key, what)).filter(({ status }) => status === 200).length;
    // In the rush some were refused because of what others had claimed; what is left is spent one by one.
    await until('the budget to be spent', 10_000, async () => {
      const [answer] = await atOnce(1, key, what);
      paid += answer.status === 200 ? 1 : 0;
      return paid * EACH >= BUDGET;
    });
    assert.ok(paid * EACH <= BUDGET + EACH, `${paid} questions of ${EACH} tokens`);
    for (const { status, text } of await atOnce(4, key, what)) {
      assert.deepEqual([status, JSON.parse(text).error.code], [429, 'budget_exceeded']);
    }
    assert.equal((await chat(fleet.gateways[0], key)).status, 200, 'another model is not concerned');
  });

  /** A page of the console at each control plane, of one session; and a task there. */
  const openTask = async () => {
    const [one, other] = fleet.servers.map(({ groups }) => groups.console);
    const { page, context } = await chromium.person(one);
    await signIn(page, OWNER);
    const second = await context.newPage();
    await second.goto(`${other}/tasks`);
    assert.equal(new URL(second.url()).pathname, '/tasks', 'a session is good at both');
    await page.goto('/tasks');
    await page.getByRole('button', { name: 'New task' }).click();
    await page.getByLabel('Name').fill('Count');
    await page.locator('#add').getByLabel('Prompt').fill('Count {{how}}');
    await page.locator('#add').getByLabel('Model').selectOption('talker-1');
    await page.locator('#add').getByRole('button', { name: 'Save' }).click();
    await page.waitForURL('**/tasks/tsk_*');
    const { pathname } = new URL(page.url());
    await second.goto(`${other}${pathname}`);
    return [page, second];
  };

  let runsStarted = 0;

  /** Starts a run on the page of the task, with a question that no other run asks; its identifier and its question. */
  const startRun = async (page, how) => {
    const task = page.url();
    await page.goto(task);
    const value = `${how}, run ${(runsStarted += 1)}.`;
    await page.getByLabel('how').fill(value);
    await page.locator('main form').getByRole('button', { name: 'Run' }).click();
    await page.waitForURL('**/runs/run_*');
    const id = page.url().split('/').at(-1);
    await page.goto(task);
    return { id, question: `Count ${value}` };
  };

  /** Waits until the runs are done, as this page of the task sees them; how often each was begun. */
  const whenDone = async (page, runs) => {
    const begun = [];
    const task = page.url();
    for (const { id } of runs) {
      await page.goto(`${task}/runs/${id}`);
      await page.locator('#run-state .badge.good').first().waitFor({ timeout: 60_000 });
      const times = /begun (\d) times/.exec(await page.locator('#run-state').innerText());
      begun.push(times ? Number(times[1]) : 1);
    }
    await page.goto(task);
    return begun;
  };

  const askedFor = (run) => provider.seen.asked.filter(({ question }) => question === run.question);
  const timesAsked = (run) => askedFor(run).length;

  let pages;

  test('of two control planes one works on a run, wherever it was started', LIMIT, async () => {
    pages = await openTask();
    const runs = [];
    for (let turn = 0; turn < 8; turn += 1) runs.push(await startRun(pages[turn % 2], 'at once'));
    await whenDone(pages[1], runs);
    assert.deepEqual(runs.map(timesAsked), runs.map(() => 1));
  });

  /** Uses a gateway until it is told to stop, every second time for a stream; what fails while the gateway is away is no answer. */
  const useGateway = async (gateway, traffic) => {
    for (let turn = 0; !traffic.isOver; turn += 1) {
      const stream = turn % 2 === 0;
      const wasUp = gateway.isUp;
      const answer = await chat(gateway, key, { stream }).catch((error) => ({ text: String(error) }));
      if (answer.status === 200 && (!stream || answer.text.includes('[DONE]'))) {
        traffic.answered.push({ gateway, id: answer.headers['x-kt-request-id'], at: Date.now() });
      } else if (wasUp && gateway.isUp) {
        traffic.unexpected.push(`${answer.status} ${answer.text}`);
      }
      await sleep(50);
    }
  };

  /** Starts runs that take a while, and waits until a gateway has been asked for each. */
  const startRuns = async (page) => {
    const runs = [];
    for (let count = 0; count < 3; count += 1) runs.push(await startRun(page, 'slowly'));
    await until('the runs to be under way', 20_000, () => runs.every((run) => timesAsked(run) > 0));
    return runs;
  };

  test('any of them is killed amid the traffic: no answer without its event, no event twice, no run lost or repeated', WHOLE_LIMIT, async () => {
    const traffic = { answered: [], unexpected: [], isOver: false };
    const users = [...fleet.gateways, ...fleet.gateways].map((gateway) => useGateway(gateway, traffic));
    const [first, second] = fleet.servers;
    const [atFirst, atSecond] = pages;
    const begun = { first: [], second: [], gateways: [] };
    /** Kills it while runs are under way, and waits until they are done, as another page tells; how often each was begun. */
    const killAmidRuns = async (member, page, teller) => {
      const runs = await startRuns(page);
      await member.kill();
      const times = await whenDone(teller, runs);
      assert.deepEqual(runs.map(timesAsked), times, 'the model was asked each time that a run was begun, and no more');
      const keys = runs.map((run) => new Set(askedFor(run).map(({ key }) => key)));
      assert.deepEqual(keys.map(({ size }) => size), runs.map(() => 1), 'a provider can tell that it was asked before');
      assert.equal(new Set(keys.flatMap((ofRun) => [...ofRun])).size, runs.length, 'and two runs apart');
      await member.restart();
      return times;
    };
    try {
      begun.first = await killAmidRuns(first, atFirst, atSecond);
      for (const gateway of fleet.gateways) begun.gateways.push(...(await killAmidRuns(gateway, atSecond, atSecond)));
      begun.second = await killAmidRuns(second, atSecond, atFirst);
    } finally {
      traffic.isOver = true;
      await Promise.all(users);
    }
    console.log(`${traffic.answered.length} answers; runs were begun ${JSON.stringify(begun)} times`);
    assert.deepEqual(traffic.unexpected, [], 'gateways do not miss a control plane');
    for (const times of Object.values(begun)) {
      assert.ok(times.includes(2) && times.every((count) => count <= 2), 'what was killed had a run');
    }

    const mayBeLost = ({ gateway, at }) => gateway.kills.some((kill) => at <= kill && at > kill - WRITTEN_WITHIN_MS);
    const kept = traffic.answered.filter((answer) => !mayBeLost(answer));
    assert.ok(kept.length > 200, `only ${kept.length}`);
    const age = ({ gateway, at }) => `${Math.min(...gateway.kills.filter((kill) => at <= kill)) - at} ms before a kill`;
    for (const server of fleet.servers) {
      const owner = await ownerAt(server);
      let counts;
      let missing;
      const what = () => `all events (without those of ${missing.map((answer) => `${answer.id}, ${age(answer)}`).join('; ')})`;
      await until(what, 60_000, async () => {
        counts = await eventCounts(owner);
        missing = kept.filter(({ id }) => !counts.has(id));
        return missing.length === 0;
      });
      assert.deepEqual([...counts].filter(([, count]) => count !== 1), [], 'each event once');
    }
    const [gateway] = fleet.gateways;
    assert.equal((await chat(gateway, key, { model: 'dear-1' })).status, 429, 'nor is a budget forgotten');
    assert.equal((await chat(gateway, key)).status, 200);
  });

  test('a control plane that is told to end works its runs to their end, so that no model is asked twice', LIMIT, async () => {
    for (const [server, page, teller] of [[0, 0, 1], [1, 1, 0]]) {
      const runs = await startRuns(pages[page]);
      await fleet.servers[server].end();
      assert.deepEqual(await whenDone(pages[teller], runs), runs.map(() => 1));
      assert.deepEqual(runs.map(timesAsked), runs.map(() => 1));
      await fleet.servers[server].restart();
    }
  });

  /** The gateways by their names, which is the order in which they are asked; and what the control plane knows of each. */
  const gatewaysByName = async () => {
    const { gateways } = await (await ownerAt(fleet.servers[0]))('GET', '/v1/gateways');
    return gateways.map((known) => ({ ...known, member: fleet.gateways.find(({ groups }) => groups.url === known.address) }));
  };

  /** Begins an answer in chat that takes a while, in a page of its own of the same session; its question. */
  const startTalk = async (page, what) => {
    const talk = await page.context().newPage();
    await talk.goto(`${new URL(page.url()).origin}/chat`);
    const question = `Count very slowly, ${what}.`;
    await ask(talk, question, 'talker-1');
    await talk.getByText('word9 ', { exact: false }).first().waitFor();
    return { talk, question };
  };

  /** Has the last question asked again, and waits for the whole answer. */
  const askAgain = async (talk) => {
    await talk.getByRole('button', { name: 'Retry' }).click();
    await talk.locator('.prose', { hasText: LAST_WORD }).waitFor({ timeout: 30_000 });
  };

  test('an answer that is under way when its server or its gateway is killed is kept so far, and can be asked for again', LIMIT, async () => {
    const [first] = fleet.servers;
    const [atFirst, atSecond] = pages;
    const cut = await startTalk(atFirst, 'until the server ends');
    await until('what has come to be kept', 10_000, async () => {
      const words = await cut.talk.locator('.plain').innerText();
      return words.includes('word100 ');
    });
    await first.kill();
    const elsewhere = await atSecond.context().newPage();
    await elsewhere.goto(`${new URL(atSecond.url()).origin}/chat`);
    await elsewhere.locator('#talks').getByText(cut.question.slice(0, 30), { exact: false }).click();
    await elsewhere.getByText('The answer was interrupted').waitFor({ timeout: 60_000 });
    assert.match(await elsewhere.locator('.prose').innerText(), /word9\b/, 'what had come by the last sign of life');
    await askAgain(elsewhere);
    await first.restart();

    const [{ member }] = await gatewaysByName();
    const broken = await startTalk(atSecond, 'until the gateway ends');
    await member.kill();
    await broken.talk.getByText('The answer broke off').waitFor({ timeout: 10_000 });
    assert.match(await broken.talk.locator('.prose').innerText(), /word9\b/);
    await askAgain(broken.talk);
    await member.restart();
    assert.deepEqual([cut, broken].map(timesAsked), [2, 2]);
    for (const { talk } of [cut, broken, { talk: elsewhere }]) await talk.close();
  });

  test('a gateway that is drained finishes what it has, and everything new goes to the other', LIMIT, async () => {
    const [atFirst, atSecond] = pages;
    const owner = await ownerAt(fleet.servers[0]);
    const [{ id, member }] = await gatewaysByName();
    const before = await startRuns(atFirst);
    await owner('POST', `/v1/gateways/${id}/drain`);
    const during = await startRuns(atSecond);
    await until('it to refuse what is new', 20_000, async () => (await chat(member, key)).status === 503);
    const after = await startRuns(atSecond);
    const { talk, question } = await startTalk(atSecond, 'past the drained one');
    await talk.locator('.prose', { hasText: LAST_WORD }).waitFor({ timeout: 30_000 });
    await talk.close();
    const runs = [...before, ...during, ...after];
    assert.deepEqual(await whenDone(atSecond, runs), runs.map(() => 1));
    assert.deepEqual([...runs, { question }].map(timesAsked), [...runs, question].map(() => 1));
    await owner('POST', `/v1/gateways/${id}/resume`);
    await letIn(member, key);
  });

  test('a gateway whose host vanishes without a word is missed by nobody', LIMIT, async () => {
    const [{ member }] = await gatewaysByName();
    await member.kill();
    const deaf = await startDeaf(Number(new URL(member.groups.url).port));
    try {
      const [, atSecond] = pages;
      const runs = await startRuns(atSecond);
      assert.deepEqual(await whenDone(atSecond, runs), runs.map(() => 1));
      assert.deepEqual(runs.map(timesAsked), runs.map(() => 1));
    } finally {
      await deaf.stop();
    }
    await member.restart();
  });

  /** How many events there are of each request. */
  const eventCounts = async (owner) => {
    const counts = new Map();
    let cursor = null;
    do {
      const page = await owner('GET', `/v1/events?limit=1000${cursor ? `&cursor=${encodeURIComponent(cursor)}` : ''}`);
      for (const { request_id: id } of page.events) if (id) counts.set(id, (counts.get(id) ?? 0) + 1);
      cursor = page.next_cursor;
    } while (cursor);
    return counts;
  };
});
