// A provider that speaks Chat Completions and Messages, answers what it is told to, and remembers what it was asked: both in
// words that belong to neither API, so that they can be compared. As a program it is told its answer by `PUT /__answer`, and
// `GET /__heard` tells what it heard.

import { once } from 'node:events';
import { createServer } from 'node:http';
import { fileURLToPath } from 'node:url';

/** How many characters come with one event of a stream. */
const PIECE = 7;

/** Why an answer ends, in the words of each API. */
const ENDS = { end: ['stop', 'end_turn'], tools: ['tool_calls', 'tool_use'], length: ['length', 'max_tokens'] };

/**
 * Starts it. `answer` is what it answers: `{ text, calls: [{ id, name, args }], end }`; `heard` is what it was asked last.
 */
export async function startRecorder() {
  const recorder = { answer: null, heard: null, wire: null };
  const server = createServer(async (request, response) => {
    let body = '';
    for await (const part of request) body += part;
    if (request.url === '/__answer') recorder.answer = JSON.parse(body);
    if (request.url.startsWith('/__')) {
      response.end(JSON.stringify({ heard: recorder.heard, wire: recorder.wire }));
      return;
    }
    const asked = JSON.parse(body);
    const wire = request.url.startsWith('/v1/messages') ? MESSAGES : CHAT;
    recorder.wire = wire.name;
    recorder.heard = wire.heard(asked);
    if (!asked.stream) {
      response.setHeader('content-type', 'application/json');
      response.end(JSON.stringify(wire.whole(asked.model, recorder.answer)));
      return;
    }
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    for (const event of wire.events(asked.model, recorder.answer)) response.write(event);
    response.end();
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  recorder.url = `http://127.0.0.1:${server.address().port}`;
  recorder.stop = () => server.close();
  return recorder;
}

/** How many tokens a question and an answer are told to have. */
const usageOf = ({ text, calls }) => ({ asked: 11, said: text.length + calls.length });

const pieces = (text) => text.match(new RegExp(`[^]{1,${PIECE}}`, 'g')) ?? [];

/** Turns of one side that follow each other are one. */
function joined(turns) {
  const whole = [];
  for (const { role, parts } of turns) {
    if (whole.at(-1)?.role === role) whole.at(-1).parts.push(...parts);
    else whole.push({ role, parts: [...parts] });
  }
  return whole;
}

const listOf = (content) => (typeof content === 'string' ? [{ type: 'text', text: content }] : (content ?? []));
const textOf = (content) => listOf(content).map(({ text }) => text).join('');

const CHAT = {
  name: 'chat',

  heard({ messages, tools, stop, max_tokens, max_completion_tokens }) {
    const part = ({ type, text, image_url }) => (type === 'text' ? { text } : { picture: image_url.url });
    const turn = ({ role, content, tool_calls, tool_call_id }) => {
      if (role === 'tool') return { role: 'user', parts: [{ result: tool_call_id, text: textOf(content) }] };
      const calls = (tool_calls ?? []).map(({ id, function: { name, arguments: args } }) => ({ call: { id, name, args: JSON.parse(args) } }));
      return { role, parts: [...listOf(content).map(part), ...calls] };
    };
    const isSystem = ({ role }) => role === 'system' || role === 'developer';
    return {
      system: messages.filter(isSystem).map(({ content }) => textOf(content)).join('\n'),
      turns: joined(messages.filter((message) => !isSystem(message)).map(turn)),
      tools: (tools ?? []).map(({ function: { name, description, parameters } }) => ({ name, description, parameters })),
      stop: [stop ?? []].flat(),
      most: max_completion_tokens ?? max_tokens,
    };
  },

  whole(model, answer) {
    const { asked, said } = usageOf(answer);
    const message = { role: 'assistant', content: answer.text || null };
    if (answer.calls.length > 0) message.tool_calls = answer.calls.map(CHAT.call);
    return {
      id: 'c1', object: 'chat.completion', created: 1, model,
      choices: [{ index: 0, message, finish_reason: ENDS[answer.end][0], logprobs: null }],
      usage: { prompt_tokens: asked, completion_tokens: said, total_tokens: asked + said },
    };
  },

  call: ({ id, name, args }) => ({ id, type: 'function', function: { name, arguments: JSON.stringify(args) } }),

  *events(model, answer) {
    const chunk = (choices, more = {}) =>
      `data: ${JSON.stringify({ id: 'c1', object: 'chat.completion.chunk', created: 1, model, choices, ...more })}\n\n`;
    const delta = (delta, finish_reason = null) => chunk([{ index: 0, delta, finish_reason }]);
    yield delta({ role: 'assistant', content: '' });
    for (const content of pieces(answer.text)) yield delta({ content });
    for (const [index, { id, name, args }] of answer.calls.entries()) {
      yield delta({ tool_calls: [{ index, id, type: 'function', function: { name, arguments: '' } }] });
      for (const piece of pieces(JSON.stringify(args))) yield delta({ tool_calls: [{ index, function: { arguments: piece } }] });
    }
    yield delta({}, ENDS[answer.end][0]);
    yield chunk([], { usage: CHAT.whole(model, answer).usage });
    yield 'data: [DONE]\n\n';
  },
};

const MESSAGES = {
  name: 'messages',

  heard({ system, messages, tools, stop_sequences, max_tokens }) {
    const part = ({ type, text, source, id, name, input, tool_use_id, content }) => {
      if (type === 'image') return { picture: source.url ?? `data:${source.media_type};base64,${source.data}` };
      if (type === 'tool_use') return { call: { id, name, args: input } };
      if (type === 'tool_result') return { result: tool_use_id, text: textOf(content) };
      return { text };
    };
    return {
      system: textOf(system ?? ''),
      turns: joined(messages.map(({ role, content }) => ({ role, parts: listOf(content).map(part) }))),
      tools: (tools ?? []).map(({ name, description, input_schema }) => ({ name, description, parameters: input_schema })),
      stop: stop_sequences ?? [],
      most: max_tokens,
    };
  },

  whole(model, answer) {
    const { asked, said } = usageOf(answer);
    const text = answer.text ? [{ type: 'text', text: answer.text }] : [];
    const calls = answer.calls.map(({ id, name, args }) => ({ type: 'tool_use', id, name, input: args }));
    return {
      id: 'msg_1', type: 'message', role: 'assistant', model, content: [...text, ...calls],
      stop_reason: ENDS[answer.end][1], stop_sequence: null, usage: { input_tokens: asked, output_tokens: said },
    };
  },

  *events(model, answer) {
    const event = (type, more) => `event: ${type}\ndata: ${JSON.stringify({ type, ...more })}\n\n`;
    const { content, stop_reason, usage, ...message } = MESSAGES.whole(model, answer);
    yield event('message_start', {
      message: { ...message, content: [], stop_reason: null, usage: { ...usage, output_tokens: 1 } },
    });
    for (const [index, block] of content.entries()) {
      const isText = block.type === 'text';
      const empty = isText ? { ...block, text: '' } : { ...block, input: {} };
      yield event('content_block_start', { index, content_block: empty });
      for (const piece of pieces(isText ? block.text : JSON.stringify(block.input))) {
        const delta = isText ? { type: 'text_delta', text: piece } : { type: 'input_json_delta', partial_json: piece };
        yield event('content_block_delta', { index, delta });
      }
      yield event('content_block_stop', { index });
    }
    yield event('message_delta', { delta: { stop_reason, stop_sequence: null }, usage: { output_tokens: usage.output_tokens } });
    yield event('message_stop', {});
  },
};

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { url } = await startRecorder();
  process.stdout.write(`ready ${url}\n`);
}
