// Fills a deployment with what a small company has after a week: people, keys, a configuration, and traffic with
// a refusal in it.

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
  await call('POST', '/v1/configurations', { name: 'main', text: configuration('1.0.0') }, token);
  await call('POST', '/v1/configurations/main/versions', { text: configuration('1.1.0') }, token);
  const ask = (content, headers = {}) =>
    fetch(`${gateway}/v1/chat/completions`, {
      method: 'POST',
      headers: { 'Content-Type': 'application/json', ...headers },
      body: JSON.stringify({ model: 'echo', messages: [{ role: 'user', content }] }),
    });
  for (let question = 0; question < 24; question += 1) {
    await ask(`Question ${question}: what does our contract say about delivery?`);
  }
  await fetch(`${gateway}/v1/chat/completions`, { method: 'POST', body: 'not JSON', headers: { 'Content-Type': 'text/plain' } });
}
