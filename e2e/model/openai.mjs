// OpenAI's surface: https://platform.openai.com/docs/api-reference/chat

import { randomUUID } from 'node:crypto';

import { Rejection, eventStream, readMessages, sendJson, tokenLimit } from './http.mjs';

export const openai = {
  presentedKey: (request) => /^Bearer (.+)$/.exec(request.headers.authorization ?? '')?.[1],

  errorBody: ({ status, code, message }) => ({
    error: { message, type: status === 401 ? 'authentication_error' : 'invalid_request_error', param: null, code },
  }),

  routes: {
    'GET /v1/models': listModels,
    'POST /v1/chat/completions': chat,
    'POST /v1/embeddings': embeddings,
  },
};

function listModels({ model, response }) {
  sendJson(response, 200, {
    object: 'list',
    data: [{ id: model, object: 'model', created: 1738886400, owned_by: 'keeptrusts-e2e' }],
  });
}

async function chat({ model, inference, body, response, signal }) {
  const request = {
    messages: readMessages(body.messages),
    maxTokens: tokenLimit(body.max_completion_tokens ?? body.max_tokens),
    signal,
  };
  const envelope = { id: `chatcmpl-${randomUUID()}`, created: Math.floor(Date.now() / 1000), model };
  if (body.stream) return streamChat({ inference, request, envelope, response, body });

  const answer = await inference.answer(request);
  sendJson(response, 200, {
    ...envelope,
    object: 'chat.completion',
    choices: [
      {
        index: 0,
        message: { role: 'assistant', content: answer.text, refusal: null },
        logprobs: null,
        finish_reason: finishReason(answer),
      },
    ],
    usage: usage(answer),
  });
}

async function streamChat({ inference, request, envelope, response, body }) {
  const stream = eventStream(response);
  const send = (fields) => stream.data({ ...envelope, object: 'chat.completion.chunk', ...fields });
  const choice = (delta, finish_reason = null) => ({ choices: [{ index: 0, delta, logprobs: null, finish_reason }] });

  send(choice({ role: 'assistant', content: '' }));
  const answer = await inference.answer({ ...request, onText: (content) => content && send(choice({ content })) });
  send(choice({}, finishReason(answer)));
  if (body.stream_options?.include_usage) send({ choices: [], usage: usage(answer) });
  stream.data('[DONE]');
  response.end();
}

async function embeddings({ model, inference, body, response }) {
  const inputs = [body.input].flat();
  if (!inputs.every((input) => typeof input === 'string')) {
    throw new Rejection(400, 'invalid_input', '`input` must be a string or a list of strings');
  }
  const data = [];
  for (const [index, input] of inputs.entries()) {
    const vector = await inference.embed(input);
    const embedding =
      body.encoding_format === 'base64' ? Buffer.from(new Float32Array(vector).buffer).toString('base64') : vector;
    data.push({ object: 'embedding', index, embedding });
  }
  // The model does not say how many tokens it read: about four letters make one.
  const tokens = Math.ceil(inputs.join('').length / 4);
  sendJson(response, 200, { object: 'list', model, data, usage: { prompt_tokens: tokens, total_tokens: tokens } });
}

function finishReason(answer) {
  return answer.cutShort ? 'length' : 'stop';
}

function usage({ inputTokens, outputTokens }) {
  return { prompt_tokens: inputTokens, completion_tokens: outputTokens, total_tokens: inputTokens + outputTokens };
}
