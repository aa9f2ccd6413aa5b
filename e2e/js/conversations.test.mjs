// The same conversations by both official SDKs in Node, through the gateway to a provider of either API, and straight to the
// provider: it hears the same, and the SDK understands the same.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, suite, test } from 'node:test';

import Anthropic from '@anthropic-ai/sdk';
import OpenAI from 'openai';

import { KEYS, configuration, startGateway } from '../lib/gateway.mjs';
import { E2E } from '../lib/places.mjs';
import { startRecorder } from '../lib/recorder.mjs';

const CONVERSATIONS = JSON.parse(readFileSync(join(E2E, 'lib', 'conversations.json')));
const SYSTEM = 'You are terse.';
const MOST = 50;

/** OpenAI's SDK. */
const CHAT = {
  client: (url, apiKey) => new OpenAI({ baseURL: `${url}/v1`, apiKey, maxRetries: 0 }),

  request({ turns, tools, stop }) {
    const part = ({ text, picture }) => (picture ? { type: 'image_url', image_url: { url: picture } } : { type: 'text', text });
    const messages = ({ role, parts }) => {
      const results = parts.filter(({ result }) => result).map(({ result, text }) => ({ role: 'tool', tool_call_id: result, content: text }));
      const calls = parts.filter((own) => own.call).map(({ call: { id, name, args } }) => ({
        id, type: 'function', function: { name, arguments: JSON.stringify(args) },
      }));
      const others = parts.filter((own) => !own.result && !own.call).map(part);
      const message = others.length > 0 ? [{ role, content: others, ...(calls.length > 0 && { tool_calls: calls }) }] : [];
      return [...message, ...results];
    };
    return {
      messages: [{ role: 'system', content: SYSTEM }, ...turns.flatMap(messages)],
      ...(tools && { tools: tools.map((tool) => ({ type: 'function', function: tool })) }),
      ...(stop && { stop }),
      max_tokens: MOST,
    };
  },

  async ask(client, model, conversation, stream) {
    const request = { model, ...CHAT.request(conversation) };
    const { chat } = client;
    const answer = stream
      ? await chat.completions.stream({ ...request, stream_options: { include_usage: true } }).finalChatCompletion()
      : await chat.completions.create(request);
    const { message, finish_reason } = answer.choices[0];
    const calls = (message.tool_calls ?? []).map(({ id, function: { name, arguments: args } }) => ({ id, name, args: JSON.parse(args) }));
    const { prompt_tokens, completion_tokens } = answer.usage;
    return { text: message.content ?? '', calls, end: finish_reason, tokens: [prompt_tokens, completion_tokens] };
  },
};

/** Anthropic's SDK. */
const MESSAGES = {
  client: (url, apiKey) => new Anthropic({ baseURL: url, apiKey, maxRetries: 0 }),

  request({ turns, tools, stop }) {
    const block = ({ text, picture, call: own, result }) => {
      if (picture) return { type: 'image', source: { type: 'base64', media_type: 'image/png', data: picture.split(',')[1] } };
      if (own) return { type: 'tool_use', id: own.id, name: own.name, input: own.args };
      if (result) return { type: 'tool_result', tool_use_id: result, content: text };
      return { type: 'text', text };
    };
    return {
      system: SYSTEM,
      messages: turns.map(({ role, parts }) => ({ role, content: parts.map(block) })),
      ...(tools && { tools: tools.map(({ parameters, ...tool }) => ({ ...tool, input_schema: parameters })) }),
      ...(stop && { stop_sequences: stop }),
      max_tokens: MOST,
    };
  },

  async ask(client, model, conversation, stream) {
    const request = { model, ...MESSAGES.request(conversation) };
    const answer = stream ? await client.messages.stream(request).finalMessage() : await client.messages.create(request);
    const text = answer.content.filter(({ type }) => type === 'text').map((block) => block.text).join('');
    const calls = answer.content.filter(({ type }) => type === 'tool_use').map(({ id, name, input }) => ({ id, name, args: input }));
    const { input_tokens, output_tokens } = answer.usage;
    return { text, calls, end: answer.stop_reason, tokens: [input_tokens, output_tokens] };
  },
};

suite('conversations by both SDKs to providers of both APIs', { timeout: 120_000 }, () => {
  let provider;
  let gateway;

  before(async () => {
    provider = await startRecorder();
    const secret_key_ref = { env: 'E2E_PROVIDER_KEY' };
    const base_url = `${provider.url}/v1`;
    const targets = [
      { id: 'chat', provider: 'openai:chat:by-chat', base_url, secret_key_ref },
      { id: 'messages', provider: 'anthropic:messages:by-messages', base_url, secret_key_ref },
    ];
    gateway = await startGateway(await configuration(provider.url, { providers: { targets } }));
  });

  after(async () => {
    await gateway?.stop();
    provider?.stop();
  });

  for (const [sdk, speaks] of Object.entries({ openai: CHAT, anthropic: MESSAGES })) {
    for (const wire of ['chat', 'messages']) {
      for (const conversation of CONVERSATIONS) {
        test(`${sdk} to a provider that speaks ${wire}: ${conversation.name}`, async () => {
          provider.answer = conversation.answer;
          for (const stream of [false, true]) {
            const direct = await speaks.ask(speaks.client(provider.url, 'any'), 'm', conversation, stream);
            const heardDirectly = provider.heard;
            const { text, calls } = conversation.answer;
            assert.deepEqual({ text: direct.text, calls: direct.calls }, { text, calls }, 'the control');
            assert.deepEqual(heardDirectly.turns, conversation.turns, 'the control');

            const client = speaks.client(gateway.url, KEYS.app);
            const through = await speaks.ask(client, `by-${wire}`, conversation, stream);
            assert.equal(provider.wire, wire);
            assert.deepEqual(provider.heard, heardDirectly, 'what the provider hears');
            assert.deepEqual(through, direct, 'what the SDK understands');
          }
        });
      }
    }
  }
});
