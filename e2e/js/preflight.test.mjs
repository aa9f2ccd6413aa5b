// Preflights by plain HTTP: the documented curl sample to the letter, and what a browser cannot be made to send.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { after, before, suite, test } from 'node:test';
import { promisify } from 'node:util';

import { KEYS, MODEL, configuration, refusedStart, startGateway } from '../lib/gateway.mjs';
import { startModel } from '../lib/model.mjs';

const APP = 'https://app.example.com';
const STAGING = 'https://staging.example.com';
const CORS = {
  enabled: true,
  allow_origins: [APP, STAGING],
  allow_methods: ['POST', 'OPTIONS'],
  allow_headers: ['Content-Type', 'Authorization'],
  allow_credentials: true,
  max_age_seconds: 3600,
};

suite('preflights', { timeout: 60_000 }, () => {
  let model;
  let gateway;
  let withoutCors;

  before(async () => {
    model = await startModel();
    gateway = await startGateway(await configuration(model.url, { cors: CORS }));
    withoutCors = await startGateway(await configuration(model.url));
  });

  after(async () => {
    await gateway?.stop();
    await withoutCors?.stop();
    await model?.stop();
  });

  /** The answer of `to` to a preflight for a JSON POST from `origin`; `headers` replaces some of its headers. */
  const preflight = (origin, headers = {}, to = gateway) =>
    fetch(`${to.url}/v1/chat/completions`, {
      method: 'OPTIONS',
      headers: {
        Origin: origin,
        'Access-Control-Request-Method': 'POST',
        'Access-Control-Request-Headers': 'Content-Type, Authorization',
        ...headers,
      },
    });

  test('the documented curl command prints the documented lines', async () => {
    const { port } = new URL(gateway.url);
    const command = `curl -si -X OPTIONS "http://localhost:${port}/v1/chat/completions" \
      -H "Origin: https://app.example.com" \
      -H "Access-Control-Request-Method: POST" \
      -H "Access-Control-Request-Headers: Content-Type, Authorization" \
      | grep -i "access-control"`;
    const { stdout } = await promisify(execFile)('sh', ['-c', command]);
    assert.deepEqual(stdout.trim().split(/\r?\n/), [
      'Access-Control-Allow-Origin: https://app.example.com',
      'Access-Control-Allow-Methods: POST, OPTIONS',
      'Access-Control-Allow-Headers: Content-Type, Authorization',
      'Access-Control-Max-Age: 3600',
      'Access-Control-Allow-Credentials: true',
    ]);
  });

  test('each listed origin gets itself; what only resembles one gets nothing', async () => {
    for (const origin of [APP, STAGING]) {
      const { status, headers } = await preflight(origin);
      assert.deepEqual([status, headers.get('access-control-allow-origin')], [204, origin]);
    }
    const lookalikes = [
      'https://app.example.com.evil.example',
      'https://evil-app.example.com',
      'https://evil.example/https://app.example.com',
      'https://sub.app.example.com',
      'https://appXexample.com',
      'http://app.example.com',
      'https://app.example.com:443',
      'https://app.example.com:8443',
      'https://app.example.com/',
      'https://app.example.com.',
      'https://APP.example.com',
      'HTTPS://app.example.com',
      'https://user@app.example.com',
      'https://xn--pp-0ja.example.com',
      `${APP} ${STAGING}`,
      `${APP}, ${STAGING}`,
      '*',
      'null',
    ];
    for (const origin of lookalikes) {
      const { headers } = await preflight(origin);
      const granted = [...headers.keys()].filter((name) => name.startsWith('access-control-'));
      assert.deepEqual(granted, [], origin);
      assert.match(headers.get('vary'), /\bOrigin\b/, origin);
    }
  });

  test('names of headers that are no tokens are not reflected', async () => {
    for (const names of ['x-ok, <script>', 'x-ok, "quoted"', 'x'.repeat(9000)]) {
      const { status, headers } = await preflight(APP, { 'Access-Control-Request-Headers': names });
      assert.ok(!headers.get('access-control-allow-headers')?.includes(names), names.slice(0, 20));
      assert.equal(status, 204, names.slice(0, 20));
    }
  });

  test('an OPTIONS that is no preflight names the methods and grants nothing to nobody', async () => {
    const response = await fetch(`${gateway.url}/v1/chat/completions`, { method: 'OPTIONS' });
    assert.equal(response.status, 204);
    assert.match(response.headers.get('allow'), /\bPOST\b/);
    assert.equal(response.headers.get('access-control-allow-origin'), null);
  });

  test('a foreign origin is answered all the same: CORS is no access control', async () => {
    const response = await fetch(`${gateway.url}/v1/chat/completions`, {
      method: 'POST',
      headers: {
        Origin: 'https://evil.example',
        'Content-Type': 'application/json',
        Authorization: `Bearer ${KEYS.app}`,
      },
      body: JSON.stringify({ model: MODEL, messages: [{ role: 'user', content: 'Hello' }], max_tokens: 1 }),
    });
    assert.equal(response.status, 200);
    assert.equal(response.headers.get('access-control-allow-origin'), null);
    assert.match(response.headers.get('vary'), /\bOrigin\b/);
  });

  test('without CORS no Access-Control header is sent, not even the provider\'s', async () => {
    const { headers } = await preflight(APP, {}, withoutCors);
    const answer = await fetch(`${withoutCors.url}/v1/models`, {
      headers: { Origin: APP, Authorization: `Bearer ${KEYS.app}` },
    });
    assert.equal(answer.status, 200);
    for (const name of [...headers.keys(), ...answer.headers.keys()]) assert.ok(!name.startsWith('access-control-'), name);
  });

  test('access to a private network is not granted', async () => {
    const { status, headers } = await preflight(APP, { 'Access-Control-Request-Private-Network': 'true' });
    assert.deepEqual([status, headers.get('access-control-allow-private-network')], [204, null]);
  });

  test('any origin together with credentials is refused, at the start and on reload', async () => {
    const unsafe = await configuration(model.url, { cors: { ...CORS, allow_origins: [APP, '*'] } });
    const { status, stderr } = await refusedStart(unsafe);
    assert.equal(status, 2, stderr);
    assert.match(stderr, /allow_credentials/);

    const answer = await gateway.reload(unsafe);
    assert.ok(answer.status >= 400 && answer.status < 500, String(answer.status));
    assert.match(await answer.text(), /allow_credentials/);
    assert.equal((await preflight('https://evil.example')).headers.get('access-control-allow-origin'), null);
    assert.equal((await preflight(APP)).headers.get('access-control-allow-origin'), APP);
  });

  test('no OPTIONS reached the provider, and other requests did', async () => {
    const { requests } = await model.stats();
    const routes = Object.keys(requests);
    assert.ok(routes.includes('POST /v1/chat/completions'), routes.join());
    assert.deepEqual(routes.filter((route) => route.startsWith('OPTIONS')), []);
  });
});
