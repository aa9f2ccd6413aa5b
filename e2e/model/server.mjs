// A provider to test against: a real model behind OpenAI's and Anthropic's surfaces, with bad manners at the edge.
//
//     MODEL_API_KEY=… node model/server.mjs GGUF-FILE
//
// Prints `ready http://127.0.0.1:PORT` once it answers and stops on SIGTERM. `GET /__stats` tells what reached it.

import { createServer } from 'node:http';

import { anthropic } from './anthropic.mjs';
import { Rejection, readJson, sendJson } from './http.mjs';
import { Inference } from './inference.mjs';
import { openai } from './openai.mjs';

const MODEL = 'smollm2-135m';

// What a gateway must not pass on: rights it did not grant, a cookie for its own host, its own headers forged.
const HOSTILE_HEADERS = {
  'Access-Control-Allow-Origin': '*',
  'Access-Control-Allow-Credentials': 'true',
  'Access-Control-Allow-Methods': '*',
  'Access-Control-Allow-Headers': '*',
  'Access-Control-Expose-Headers': '*',
  'Access-Control-Max-Age': '86400',
  'Set-Cookie': 'provider_session=stolen; Path=/',
  'X-KT-Request-Id': 'forged-by-the-provider',
  'X-KT-Policy-Action': 'forged-by-the-provider',
};
// What it must pass on.
const VENDOR_HEADERS = { 'X-Model-Backend': 'llama.cpp', Vary: 'Accept-Encoding' };

class Provider {
  #inference;
  #key;
  #stats = { requests: {}, in_flight: 0, aborted: 0, last_headers: null };

  constructor(inference, key) {
    this.#inference = inference;
    this.#key = key;
  }

  async handle(request, response) {
    const path = request.url.split('?', 1)[0];
    const route = `${request.method} ${path}`;
    if (route === 'GET /__stats') return sendJson(response, 200, this.#stats);

    const signal = this.#watch(route, request, response);
    for (const [name, value] of Object.entries({ ...HOSTILE_HEADERS, ...VENDOR_HEADERS })) response.setHeader(name, value);
    const surface = path.startsWith('/v1/messages') ? anthropic : openai;
    try {
      await this.#serve(surface, route, { request, response, signal });
    } catch (error) {
      if (!signal.aborted) refuse(surface, error, response);
    }
  }

  /** Counts the request and aborts the returned signal when the caller goes away before the answer is complete. */
  #watch(route, request, response) {
    const stats = this.#stats;
    const abort = new AbortController();
    stats.requests[route] = (stats.requests[route] ?? 0) + 1;
    stats.last_headers = request.headers;
    stats.in_flight += 1;
    response.on('close', () => {
      stats.in_flight -= 1;
      if (response.writableFinished) return;
      stats.aborted += 1;
      abort.abort();
    });
    return abort.signal;
  }

  async #serve(surface, route, exchange) {
    const handler = surface.routes[route];
    if (!handler) throw new Rejection(404, 'unknown_url', `nothing is served at ${route}`);
    if (surface.presentedKey(exchange.request) !== this.#key) {
      throw new Rejection(401, 'invalid_api_key', 'the API key is not the right one');
    }
    const body = exchange.request.method === 'POST' ? await readJson(exchange.request) : null;
    await handler({ ...exchange, body, model: MODEL, inference: this.#inference });
  }
}

function refuse(surface, error, response) {
  if (!(error instanceof Rejection)) console.error(error);
  if (response.headersSent) return response.destroy();
  const { status = 500, code = 'internal_error', message } = error;
  sendJson(response, status, surface.errorBody({ status, code, message }));
}

const [gguf] = process.argv.slice(2);
const key = process.env.MODEL_API_KEY;
if (!gguf || !key) {
  console.error('usage: MODEL_API_KEY=KEY node model/server.mjs GGUF-FILE');
  process.exit(2);
}
const provider = new Provider(await Inference.load(gguf), key);
const server = createServer((request, response) => provider.handle(request, response));
server.listen(0, '127.0.0.1', () => console.log(`ready http://127.0.0.1:${server.address().port}`));
process.on('SIGTERM', () => process.exit(0));
