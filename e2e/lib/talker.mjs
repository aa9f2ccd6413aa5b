// A provider that says words back, and remembers who asked it and who went away.

import { once } from 'node:events';
import { createServer } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';

/** How long it takes over each word of an answer that it was asked to give slowly, in milliseconds. */
const EACH_WORD = 25;

/** How many parts an answer at length has, of so many characters, and how long it takes over each ten of them. */
const AT_LENGTH = { parts: 6000, characters: 100, pause: 5 };

/**
 * Starts it. It has so many `words` for a question that asks for them slowly, and four times as many for one that asks for them
 * very slowly; to one that asks for an answer at length it says more than half a megabyte; another one it says back. `seen` tells how many requests there were, how many left before the end of their
 * answer, and of each its question and its `Idempotency-Key`.
 */
export async function startTalker({ words = 400 } = {}) {
  const seen = { requests: 0, left: 0, asked: [] };
  const server = createServer(async (request, response) => {
    let body = '';
    for await (const part of request) body += part;
    seen.requests += 1;
    const { model, messages, stream } = JSON.parse(body);
    const question = messages.at(-1).content;
    seen.asked.push({ question, key: request.headers['idempotency-key'] });
    const isSlow = question.includes('slowly');
    const length = question.includes('very slowly') ? 4 * words : words;
    const isLong = question.includes('at length');
    const parts = isSlow
      ? Array.from({ length }, (_, place) => `word${place} `)
      : isLong
        ? Array.from({ length: AT_LENGTH.parts }, (_, place) => `part${place} `.padEnd(AT_LENGTH.characters, 'word '))
        : [`You said: ${question}`];
    const usage = { prompt_tokens: 5, completion_tokens: 7, total_tokens: 12 };
    const about = { id: 'c', created: 1, model };
    if (!stream) {
      const message = { role: 'assistant', content: parts.join('') };
      const choices = [{ index: 0, message, finish_reason: 'stop' }];
      response.setHeader('content-type', 'application/json');
      response.end(JSON.stringify({ ...about, object: 'chat.completion', choices, usage }));
      return;
    }
    const send = (choice, more) =>
      response.write(`data: ${JSON.stringify({ ...about, object: 'chat.completion.chunk', choices: [choice], ...more })}\n\n`);
    let isOver = false;
    response.on('close', () => {
      if (!isOver) seen.left += 1;
      isOver = true;
    });
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    for (const [place, content] of parts.entries()) {
      if (isOver) return;
      send({ index: 0, delta: { content }, finish_reason: null });
      if (isSlow) await sleep(EACH_WORD);
      if (isLong && place % 10 === 9) await sleep(AT_LENGTH.pause);
    }
    send({ index: 0, delta: {}, finish_reason: 'stop' }, { usage });
    isOver = true;
    response.end('data: [DONE]\n\n');
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return { url: `http://127.0.0.1:${server.address().port}/v1`, seen, stop: () => server.close() };
}
