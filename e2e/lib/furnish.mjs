// Fills a deployment with what a small company has after a week: people, keys, a configuration, and traffic with
// a refusal in it.

import { answerIn, ask } from './chat.mjs';
import { OWNER } from './console.mjs';

const PEOPLE = [
  ['ada@acme.example', 'admin'],
  ['bo@acme.example', 'member'],
  ['cy@acme.example', 'auditor'],
];

const configuration = (version) => `pack: {name: first, version: ${version}}\nproviders:\n  targets:\n    - {id: echo, provider: echo}\n`;

/** Fills the deployment through its own API, and sends requests through its gateway. */
export async function furnish({ api, gateway }) {
  const call = async (method, path, body, token) => {
    const answer = await fetch(`${api}${path}`, {
      method,
      headers: { 'Content-Type': 'application/json', ...(token ? { Authorization: `Bearer ${token}` } : {}) },
      body: body && JSON.stringify(body),
    });
    if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${await answer.text()}`);
    return answer.status === 204 ? null : answer.json();
  };
  const { access_token: token } = await call('POST', '/v1/auth/login', OWNER);
  await call('PATCH', '/v1/me', { name: 'Olive Owner' }, token);
  await call('PATCH', '/v1/organization', { name: 'Acme' }, token);
  for (const [email, role] of PEOPLE) await call('POST', '/v1/invitations', { email, role }, token);
  const keys = [];
  for (const [name, scope] of [['Support assistant', 'write'], ['Nightly report', 'read-only']]) {
    keys.push(await call('POST', '/v1/tokens', { type: 'access', name, scope }, token));
  }
  await call('POST', '/v1/tokens', { type: 'gateway', name: 'Gateway in Dublin', scope: 'write' }, token);
  await call('POST', '/v1/tokens', { type: 'scim', name: 'Entra ID', scope: 'write' }, token);
  await call('POST', '/v1/configurations', { name: 'main', text: configuration('1.0.0') }, token);
  await call('POST', '/v1/configurations/main/versions', { text: configuration('1.1.0') }, token);
  const send = (content, headers = {}) =>
    fetch(`${gateway}/v1/chat/completions`, {
      method: 'POST',
      headers: { 'Content-Type': 'application/json', ...headers },
      body: JSON.stringify({ model: 'echo', messages: [{ role: 'user', content }] }),
    });
  for (let question = 0; question < 24; question += 1) {
    await send(`Question ${question}: what does our contract say about delivery?`);
  }
  await fetch(`${gateway}/v1/chat/completions`, { method: 'POST', body: 'not JSON', headers: { 'Content-Type': 'text/plain' } });
}

/** Has somebody ask a question in chat, and make and run a task. Gives the pages that show them. */
export async function work(page) {
  await page.goto('/chat');
  await ask(page, 'What does our contract say about delivery? Answer in **one** sentence.');
  await answerIn(page, 1);
  await page.waitForURL('**/chat/cnv_*');
  const talk = new URL(page.url()).pathname;
  await page.goto('/tasks');
  await page.getByRole('button', { name: 'New task' }).click();
  const dialog = page.locator('#add');
  await dialog.getByLabel('Name').fill('Summary of a ticket');
  await dialog.getByLabel('Prompt').fill('Summarize this ticket in three sentences for the support team:\n\n{{ticket}}');
  await dialog.getByRole('button', { name: 'Save' }).click();
  await page.waitForURL('**/tasks/tsk_*');
  const task = new URL(page.url()).pathname;
  await page.getByLabel('ticket').fill('The parcel has not arrived, and the customer asks for another one.');
  await page.locator('main form').getByRole('button', { name: 'Run' }).click();
  await page.waitForURL('**/runs/run_*');
  await page.locator('#run-state .badge.good').first().waitFor({ timeout: 30_000 });
  return [talk, task, new URL(page.url()).pathname];
}
