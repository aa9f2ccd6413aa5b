// The official JavaScript SDKs in Node, through the gateway, to a real model.

import assert from 'node:assert/strict';
import { after, before, suite, test } from 'node:test';

import Anthropic from '@anthropic-ai/sdk';
import OpenAI from 'openai';

import { eventOf } from '../lib/events.mjs';
import { CLAUDE, KEYS, MODEL, UNPLUGGED, WRONG_KEY, configuration, startGateway } from '../lib/gateway.mjs';
import { startModel } from '../lib/model.mjs';
import { until } from '../lib/poll.mjs';

const QUESTION = { messages: [{ role: 'user', content: 'Name three colours.' }], max_tokens: 24 };
const LONG_STORY = { messages: [{ role: 'user', content: 'Tell a long story about the sea.' }], max_tokens: 400 };
const ABORT_REACHES_PROVIDER_MS = 1_000;

suite('official SDKs in Node', { timeout: 120_000 }, () => {
  let model;
  let gateway;

  before(async () => {
    model = await startModel();
    gateway = await startGateway(await configuration(model.url));
  });

  after(async () => {
    await gateway?.stop();
    await model?.stop();
  });

  const openai = (apiKey = KEYS.app) => new OpenAI({ baseURL: `${gateway.url}/v1`, apiKey, maxRetries: 0 });
  const anthropic = (apiKey = KEYS.app) => new Anthropic({ baseURL: gateway.url, apiKey, maxRetries: 0 });

  test('openai: an answer, its request id and its event', async () => {
    const { data, response } = await openai().chat.completions.create({ model: MODEL, ...QUESTION }).withResponse();
    assert.match(data.choices[0].message.content, /red/i);

    const event = await eventOf(gateway, response.headers.get('x-kt-request-id'));
    assert.equal(event.event_type, 'decision');
    assert.equal(event.verdict, 'allow');
    assert.equal(event.input_tokens, data.usage.prompt_tokens);
    assert.equal(event.output_tokens, data.usage.completion_tokens);
  });

  test('openai: a stream says what the whole answer says', async () => {
    const whole = await openai().chat.completions.create({ model: MODEL, ...QUESTION });
    const stream = await openai().chat.completions.create({ model: MODEL, ...QUESTION, stream: true });
    let text = '';
    for await (const chunk of stream) text += chunk.choices[0]?.delta.content ?? '';
    assert.equal(text, whole.choices[0].message.content);
  });

  test('openai: the models and an embedding', async () => {
    const models = await openai().models.list();
    assert.ok(models.data.some(({ id }) => id === MODEL));

    const { data } = await openai().embeddings.create({ model: MODEL, input: 'the sea' });
    assert.ok(data[0].embedding.length > 100);
  });

  test('openai: an aborted stream ends at the provider', async () => {
    const { aborted } = await model.stats();
    const stream = await openai().chat.completions.create({ model: MODEL, ...LONG_STORY, stream: true });
    for await (const chunk of stream) if (chunk.choices[0]?.delta.content) break; // leaving the loop aborts
    await until('the abort at the provider', ABORT_REACHES_PROVIDER_MS, async () => (await model.stats()).aborted > aborted);
  });

  test('openai: errors are the SDK\'s own', async () => {
    const ask = (key, name) => openai(key).chat.completions.create({ model: name, ...QUESTION });
    await assert.rejects(ask(WRONG_KEY, MODEL), (error) => {
      assert.ok(error instanceof OpenAI.AuthenticationError, String(error));
      assert.equal(error.code, 'invalid_key');
      return true;
    });
    await assert.rejects(ask(KEYS.app, UNPLUGGED), (error) => {
      assert.ok(error instanceof OpenAI.InternalServerError, String(error));
      assert.deepEqual([error.status, error.type], [502, 'upstream_error']);
      return true;
    });
  });

  test('anthropic: an answer and its event', async () => {
    const { data, response } = await anthropic().messages.create({ model: CLAUDE, ...QUESTION }).withResponse();
    assert.match(data.content[0].text, /red/i);

    const event = await eventOf(gateway, response.headers.get('x-kt-request-id'));
    assert.deepEqual([event.provider, event.target_id, event.request_path], ['anthropic', 'claude', '/v1/messages']);
    assert.equal(event.output_tokens, data.usage.output_tokens);
  });

  test('anthropic: a stream, gathered by the SDK', async () => {
    const whole = await anthropic().messages.create({ model: CLAUDE, ...QUESTION });
    const streamed = await anthropic().messages.stream({ model: CLAUDE, ...QUESTION }).finalMessage();
    assert.deepEqual(streamed.content[0].text, whole.content[0].text);
    assert.deepEqual(streamed.usage.output_tokens, whole.usage.output_tokens);
  });

  test('openai: a model behind Messages says the same, whole and streaming', async () => {
    const direct = await anthropic().messages.create({ model: CLAUDE, ...QUESTION });
    const translated = await openai().chat.completions.create({ model: CLAUDE, ...QUESTION });
    assert.equal(translated.choices[0].message.content, direct.content[0].text);
    assert.equal(translated.usage.completion_tokens, direct.usage.output_tokens);
    const streamed = await openai().chat.completions.stream({ model: CLAUDE, ...QUESTION }).finalContent();
    assert.equal(streamed, direct.content[0].text);
  });

  test('anthropic: a model behind Chat Completions says the same, whole and streaming', async () => {
    const direct = await openai().chat.completions.create({ model: MODEL, ...QUESTION });
    const translated = await anthropic().messages.create({ model: MODEL, ...QUESTION });
    assert.equal(translated.content[0].text, direct.choices[0].message.content);
    const streamed = await anthropic().messages.stream({ model: MODEL, ...QUESTION }).finalMessage();
    assert.equal(streamed.content[0].text, direct.choices[0].message.content);
    assert.equal(streamed.usage.output_tokens, translated.usage.output_tokens);
  });

  test('anthropic: errors are the SDK\'s own', async () => {
    await assert.rejects(anthropic(WRONG_KEY).messages.create({ model: CLAUDE, ...QUESTION }), (error) => {
      assert.ok(error instanceof Anthropic.AuthenticationError, String(error));
      assert.equal(error.error.error.code, 'invalid_key');
      return true;
    });
  });
});
