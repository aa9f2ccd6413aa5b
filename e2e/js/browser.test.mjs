// A web application on another site than the gateway, in a real Chromium, with the official OpenAI SDK.

import assert from 'node:assert/strict';
import { after, before, suite, test } from 'node:test';

import { startBrowser } from '../lib/browser.mjs';
import { KEYS, MAX_REQUEST_BYTES, MODEL, UNPLUGGED, WRONG_KEY, configuration, startGateway } from '../lib/gateway.mjs';
import { startModel } from '../lib/model.mjs';
import { servePages } from '../lib/pages.mjs';

// What the SDK sends beside Content-Type and Authorization.
const SDK_HEADERS = [
  'X-Stainless-OS',
  'X-Stainless-Arch',
  'X-Stainless-Lang',
  'X-Stainless-Runtime',
  'X-Stainless-Runtime-Version',
  'X-Stainless-Package-Version',
  'X-Stainless-Retry-Count',
  'X-Stainless-Timeout',
];
const EXPOSED = ['X-KT-Request-Id', 'X-KT-Policy-Action', 'Retry-After'];
// Comes from the provider and is not exposed.
const HIDDEN = 'X-Model-Backend';
const UUID_V7 = /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;
const TEST = { timeout: 60_000 };

suite('a web application on another site', { timeout: 180_000 }, () => {
  const running = [];
  const gateways = {};
  let model;
  let application;
  let stranger;
  let browser;
  let page;

  before(async () => {
    const start = async (starting) => {
      const server = await starting;
      running.unshift(server);
      return server;
    };
    model = await start(startModel());
    application = await start(servePages());
    stranger = await start(servePages());

    const listed = {
      enabled: true,
      allow_origins: [application.origin],
      allow_methods: ['GET', 'POST', 'OPTIONS'],
      allow_headers: ['Content-Type', 'Authorization', ...SDK_HEADERS],
      expose_headers: EXPOSED,
    };
    const gateway = async (sections) => start(startGateway(await configuration(model.url, sections)));
    gateways.listed = await gateway({ cors: listed });
    gateways.credentials = await gateway({ cors: { ...listed, allow_credentials: true } });
    gateways.wildcard = await gateway({ cors: { enabled: true, allow_origins: ['*'], allow_headers: ['*'] } });
    gateways.defaults = await gateway({ cors: { enabled: true, allow_origins: [application.origin] } });
    gateways.denied = await gateway({ cors: listed, ip_allowlist: { enabled: true, allow: ['10.0.0.0/8'] } });

    gateways.keyless = await gateway({ cors: listed, auth: { mode: 'none' } });

    browser = await startBrowser();
    page = await browser.open(application.origin);
  });

  after(async () => {
    await browser?.stop();
    for (const server of running) await server.stop();
  });

  /** Calls the application's function `name` in `where`, by default the page at the listed origin. */
  const call = (name, argument, where = page) =>
    where.evaluate(([name, argument]) => globalThis.app[name](argument), [name, argument]);
  /** A `fetch` by the page, without the SDK. */
  const plain = (url, options, where = page) =>
    where.evaluate(([url, options]) => globalThis.app.plain(url, options), [url, options]);
  const access = (gateway, key = KEYS.app) => ({ gateway: gateway.url, key, model: MODEL });
  const withKey = { headers: { Authorization: `Bearer ${KEYS.app}` } };

  test('an answer, with the exposed headers and no other', TEST, async () => {
    const { text, usage, headers } = await call('chat', { ...access(gateways.listed), read: [...EXPOSED, HIDDEN] });
    assert.match(text, /red/i);
    assert.ok(usage.completion_tokens > 0);
    assert.match(headers['X-KT-Request-Id'], UUID_V7);
    assert.equal(headers['X-KT-Policy-Action'], 'allow');
    assert.equal(headers[HIDDEN], null);
  });

  test('a stream arrives piece by piece', TEST, async () => {
    const { pieces, headers } = await call('stream', { ...access(gateways.listed), read: EXPOSED });
    assert.match(pieces.map(({ text }) => text).join(''), /red/i);
    assert.match(headers['X-KT-Request-Id'], UUID_V7);
    const moments = new Set(pieces.map(({ at }) => at));
    assert.ok(moments.size >= 4, `${pieces.length} pieces came at ${moments.size} moments`);
    assert.ok(pieces.at(-1).at - pieces[0].at > 50, 'all pieces came at once');
  });

  const refusals = [
    ['a wrong key', { key: WRONG_KEY }, 401, 'authentication_error', 'invalid_key'],
    ['a key for another network', { key: KEYS.elsewhere }, 403, 'permission_denied', 'key_ip_denied'],
    ['a body that is too large', { content: 'x'.repeat(4 * MAX_REQUEST_BYTES) }, 413, 'request_too_large', /./],
    ['a provider that is down', { model: UNPLUGGED }, 502, 'upstream_error', /./],
  ];
  for (const [what, change, status, type, code] of refusals) {
    test(`${what}: the page reads ${status} and why`, TEST, async () => {
      const failure = await call('failure', { ...access(gateways.listed), read: EXPOSED, ...change });
      assert.deepEqual([failure.status, failure.error?.type], [status, type]);
      if (typeof code === 'string') assert.equal(failure.error.code, code);
      else assert.match(failure.error.code, code);
      assert.ok(failure.error.message.length > 10);
      assert.equal(failure.error.request_id, failure.headers['X-KT-Request-Id']);
    });
  }

  test('a key used too often: the page reads 429 and when to come back', TEST, async () => {
    const seldom = { ...access(gateways.listed, KEYS.seldom), read: EXPOSED };
    await call('chat', seldom);
    const failure = await call('failure', seldom);
    assert.deepEqual([failure.status, failure.error?.type], [429, 'rate_limit']);
    const seconds = Number(failure.headers['Retry-After']);
    assert.ok(seconds >= 1 && seconds <= 60, `Retry-After: ${failure.headers['Retry-After']}`);
  });

  test('a broken body: the page reads 400 and why', TEST, async () => {
    const url = `${gateways.listed.url}/v1/chat/completions`;
    const headers = { ...withKey.headers, 'Content-Type': 'application/json' };
    const { status, body } = await plain(url, { method: 'POST', headers, body: '{"model":' });
    assert.deepEqual([status, body.error.code], [400, 'invalid_json']);
  });

  test('an address that is not allowed: a simple request reads 403, one that needs a preflight nothing', TEST, async () => {
    const url = `${gateways.denied.url}/v1/models`;
    const simple = await plain(url);
    assert.deepEqual([simple.status, simple.body?.error.code], [403, 'ip_denied']);
    assert.deepEqual(await plain(url, withKey), { blocked: true });
  });

  test('a page at an origin that is not listed gets nothing', TEST, async () => {
    const { requests: before } = await model.stats();
    const other = await browser.open(stranger.origin);
    const failure = await call('failure', access(gateways.listed), other);
    assert.deepEqual([failure.type, failure.status], ['APIConnectionError', undefined]);
    assert.deepEqual(await plain(`${gateways.listed.url}/healthz`, {}, other), { blocked: true });
    assert.deepEqual((await model.stats()).requests, before);

    assert.match((await call('chat', access(gateways.wildcard), other)).text, /red/i);
  });

  test('the default headers are too few for the SDK, enough for fetch', TEST, async () => {
    const failure = await call('failure', access(gateways.defaults));
    assert.equal(failure.type, 'APIConnectionError');
    assert.equal((await plain(`${gateways.defaults.url}/v1/models`, withKey)).status, 200);
  });

  test('any header may be sent where all are allowed', TEST, async () => {
    const headers = { ...withKey.headers, 'X-Anything': 'at all' };
    assert.equal((await plain(`${gateways.wildcard.url}/v1/models`, { headers })).status, 200);
    assert.deepEqual(await plain(`${gateways.listed.url}/v1/models`, { headers }), { blocked: true });
  });

  test('a method that is not listed is blocked', TEST, async () => {
    const url = `${gateways.listed.url}/v1/models`;
    assert.deepEqual(await plain(url, { ...withKey, method: 'DELETE' }), { blocked: true });
  });

  test('credentials only where they are allowed', TEST, async () => {
    const options = { ...withKey, credentials: 'include' };
    assert.equal((await plain(`${gateways.credentials.url}/v1/models`, options)).status, 200);
    assert.deepEqual(await plain(`${gateways.listed.url}/v1/models`, options), { blocked: true });
    assert.deepEqual(await plain(`${gateways.wildcard.url}/v1/models`, options), { blocked: true });
    const cookies = await page.context().cookies(gateways.credentials.url);
    assert.deepEqual(cookies, [], 'the provider set a cookie');
  });

  for (const kind of ['sandbox', 'data']) {
    test(`a document with the origin null (${kind}) gets nothing from a list`, TEST, async () => {
      const from = (gateway) => call('plainFromNullOrigin', { kind, url: `${gateway.url}/v1/models`, options: withKey });
      assert.deepEqual(await from(gateways.listed), { origin: 'null', blocked: true });
      assert.deepEqual(await from(gateways.credentials), { origin: 'null', blocked: true });
      assert.deepEqual(await from(gateways.wildcard), { origin: 'null', blocked: false, status: 200 });
    });
  }

  test('a stranger\'s page cannot spend a gateway that asks for no key', TEST, async () => {
    const reached = async () => (await model.stats()).requests['POST /v1/chat/completions'] ?? 0;
    const before = await reached();
    const url = `${gateways.keyless.url}/v1/chat/completions`;
    const body = JSON.stringify({ model: MODEL, messages: [{ role: 'user', content: 'Hello' }], max_tokens: 1 });
    const other = await browser.open(stranger.origin);
    // Requests that browsers send without asking first: no preflight stands in their way.
    const types = [
      'text/plain',
      'text/plain; charset=application/json',
      'application/x-www-form-urlencoded',
      'multipart/form-data',
    ];
    const simple = [{ untyped: true }, ...types.map((type) => ({ headers: { 'Content-Type': type } }))];
    for (const options of simple) assert.ok((await plain(url, { method: 'POST', body, ...options }, other)).blocked);
    assert.equal(await reached(), before);

    const json = { 'Content-Type': 'application/json' };
    assert.equal((await plain(url, { method: 'POST', body, headers: json })).status, 200);
    assert.equal(await reached(), before + 1);
  });

  test('no preflight reached the provider', TEST, async () => {
    const routes = Object.keys((await model.stats()).requests);
    assert.deepEqual(routes.filter((route) => route.startsWith('OPTIONS')), []);
  });

  test('every answer of the run carried the headers that it had to, and no others', TEST, async () => {
    const exchanges = await browser.stop();
    browser = null;
    const isGateways = ({ url }) => Object.values(gateways).some((gateway) => url.startsWith(`${gateway.url}/`));
    const answers = exchanges.filter(isGateways);
    const seen = new Set(answers.map(({ method, status }) => `${method} ${status}`));
    const expected = ['OPTIONS 204', 'POST 200', 'POST 401', 'POST 403', 'GET 403', 'POST 413', 'POST 429', 'POST 502'];
    for (const kind of expected) assert.ok(seen.has(kind), `${kind} is not among ${[...seen].join(', ')}`);

    for (const { method, url, status, headers } of answers) {
      const all = (name) => headers.filter(([other]) => other === name).map(([, value]) => value);
      const where = `${method} ${url} ${status}`;
      const anyOrigin = url.startsWith(gateways.wildcard.url);
      assert.ok(all('vary').join(',').split(',').some((name) => name.trim() === 'Origin'), `${where}: Vary: ${all('vary')}`);
      assert.ok(all('access-control-allow-origin').length <= 1, where);
      for (const origin of all('access-control-allow-origin')) {
        assert.equal(origin, anyOrigin ? '*' : application.origin, where);
      }
      const credentials = url.startsWith(gateways.credentials.url) && all('access-control-allow-origin').length === 1;
      assert.deepEqual(all('access-control-allow-credentials'), credentials ? ['true'] : [], where);
      assert.ok(!all('access-control-expose-headers').includes('*'), where);
      assert.deepEqual(all('set-cookie'), [], where);
      assert.equal(all('x-kt-request-id').length, 1, where);
      assert.match(all('x-kt-request-id')[0], UUID_V7, where);
      assert.ok(!all('x-kt-policy-action').some((action) => action.startsWith('forged')), where);
    }
    const fromProvider = answers.find(({ headers }) => headers.some(([name]) => name === HIDDEN.toLowerCase()));
    assert.ok(fromProvider, `${HIDDEN} was on no answer, so that hiding it proved nothing`);
    const { headers } = fromProvider;
    assert.ok(headers.some(([name, value]) => name === 'vary' && value.includes('Accept-Encoding')), 'Vary is not merged');
  });
});
