// What an application in a browser does with the official SDK. Each function answers with plain values for the test.

import OpenAI, { APIError } from 'openai';

const QUESTION = { messages: [{ role: 'user', content: 'Name three colours.' }], max_tokens: 24 };

function client({ gateway, key, ...options }) {
  return new OpenAI({ baseURL: `${gateway}/v1`, apiKey: key, maxRetries: 0, dangerouslyAllowBrowser: true, ...options });
}

/** One answer and the headers named in `read`, as far as the browser shows them. */
async function chat({ model, read = [], ...access }) {
  const { data, response } = await client(access).chat.completions.create({ model, ...QUESTION }).withResponse();
  return { text: data.choices[0].message.content, usage: data.usage, headers: visibleHeaders(response, read) };
}

/** The pieces of a streamed answer, each with the time at which it arrived. */
async function stream({ model, read = [], ...access }) {
  const { data, response } = await client(access)
    .chat.completions.create({ model, ...QUESTION, stream: true })
    .withResponse();
  const pieces = [];
  for await (const chunk of data) pieces.push({ at: performance.now(), text: chunk.choices[0]?.delta.content ?? '' });
  return { pieces, headers: visibleHeaders(response, read) };
}

/**
 * What the SDK throws instead of an answer: its `status` and its JSON body's `error`, which are missing when the browser
 * hid the answer.
 */
async function failure({ model, content, read = [], ...access }) {
  const question = content ? { ...QUESTION, messages: [{ role: 'user', content }] } : QUESTION;
  try {
    await client(access).chat.completions.create({ model, ...question });
  } catch (error) {
    if (!(error instanceof APIError)) throw error;
    const headers = error.headers ? visibleHeaders(error, read) : undefined;
    return { type: error.constructor.name, status: error.status, error: error.error, headers };
  }
  throw new Error('the request was answered');
}

/**
 * A plain `fetch`: status and JSON body, or `blocked: true` when the browser keeps the answer from the page.
 * With `untyped` the browser adds no Content-Type of its own.
 */
async function plain(url, { untyped, ...options } = {}) {
  if (untyped) options.body = new TextEncoder().encode(options.body);
  let response;
  try {
    response = await fetch(url, options);
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
    return { blocked: true };
  }
  return { blocked: false, status: response.status, body: await response.json() };
}

/** The same `fetch` from a document whose origin is `null`: a sandboxed frame, or one with a `data:` address. */
function plainFromNullOrigin({ kind, url, options }) {
  const source = `<script>
    fetch(${JSON.stringify(url)}, ${JSON.stringify(options ?? {})})
      .then(({ status }) => ({ blocked: false, status }), () => ({ blocked: true }))
      .then((outcome) => parent.postMessage({ origin: self.origin, ...outcome }, '*'));
  </script>`;
  const frame = document.createElement('iframe');
  if (kind === 'sandbox') {
    frame.sandbox = 'allow-scripts';
    frame.srcdoc = source;
  } else {
    frame.src = `data:text/html,${encodeURIComponent(source)}`;
  }
  return new Promise((resolve) => {
    window.addEventListener('message', (message) => resolve(message.data), { once: true });
    document.body.append(frame);
  }).finally(() => frame.remove());
}

function visibleHeaders({ headers }, names) {
  return Object.fromEntries(names.map((name) => [name, headers.get(name)]));
}

globalThis.app = { chat, stream, failure, plain, plainFromNullOrigin };
