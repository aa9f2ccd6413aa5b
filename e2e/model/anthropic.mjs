// Anthropic's surface: https://docs.anthropic.com/en/api/messages and .../messages-streaming

import { randomUUID } from 'node:crypto';

import { Rejection, eventStream, readMessages, sendJson, textOf, tokenLimit } from './http.mjs';

export const anthropic = {
  presentedKey: (request) => request.headers['x-api-key'],

  errorBody: ({ status, message }) => ({
    type: 'error',
    error: { type: status === 401 ? 'authentication_error' : 'invalid_request_error', message },
  }),

  routes: { 'POST /v1/messages': messages },
};

async function messages({ model, inference, request, body, response, signal }) {
  if (!request.headers['anthropic-version']) {
    throw new Rejection(400, 'invalid_request', 'anthropic-version: header is required');
  }
  const system = body.system ? [{ role: 'system', content: textOf(body.system) }] : [];
  const question = {
    messages: [...system, ...readMessages(body.messages)],
    maxTokens: tokenLimit(body.max_tokens),
    signal,
  };
  const envelope = { id: `msg_${randomUUID().replaceAll('-', '')}`, type: 'message', role: 'assistant', model };
  if (body.stream) return streamMessage({ inference, question, envelope, response });

  const answer = await inference.answer(question);
  sendJson(response, 200, {
    ...envelope,
    content: [{ type: 'text', text: answer.text }],
    stop_reason: stopReason(answer),
    stop_sequence: null,
    usage: { input_tokens: answer.inputTokens, output_tokens: answer.outputTokens },
  });
}

async function streamMessage({ inference, question, envelope, response }) {
  const stream = eventStream(response);
  const send = (type, fields) => stream.event(type, { type, ...fields });
  let started = false;
  const start = (inputTokens) => {
    if (started) return;
    started = true;
    const usage = { input_tokens: inputTokens, output_tokens: 1 };
    send('message_start', { message: { ...envelope, content: [], stop_reason: null, stop_sequence: null, usage } });
    send('content_block_start', { index: 0, content_block: { type: 'text', text: '' } });
    send('ping', {});
  };

  const answer = await inference.answer({
    ...question,
    onText: (text, inputTokens) => {
      start(inputTokens);
      if (text) send('content_block_delta', { index: 0, delta: { type: 'text_delta', text } });
    },
  });
  start(answer.inputTokens);
  send('content_block_stop', { index: 0 });
  send('message_delta', {
    delta: { stop_reason: stopReason(answer), stop_sequence: null },
    usage: { output_tokens: answer.outputTokens },
  });
  send('message_stop', {});
  response.end();
}

function stopReason(answer) {
  return answer.cutShort ? 'max_tokens' : 'end_turn';
}
