// What both surfaces need to read requests and write answers.

/** A request that cannot be served; the surface writes it in its vendor's shape. */
export class Rejection extends Error {
  constructor(status, code, message) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

/** The JSON body of `request`; a body that is none is a Rejection. */
export async function readJson(request) {
  const pieces = [];
  for await (const piece of request) pieces.push(piece);
  try {
    return JSON.parse(Buffer.concat(pieces).toString());
  } catch {
    throw new Rejection(400, 'invalid_json', 'the body is no JSON');
  }
}

/** The conversation as `{role, content}` with plain text, ending with the user's turn. */
export function readMessages(messages) {
  if (!Array.isArray(messages) || messages.at(-1)?.role !== 'user') {
    throw new Rejection(400, 'invalid_messages', '`messages` must be a list that ends with a message by the user');
  }
  return messages.map(({ role, content }) => ({ role, content: textOf(content) }));
}

/** The text of a content that is a string or a list of text parts. */
export function textOf(content) {
  if (typeof content === 'string') return content;
  return content.map((part) => part.text).join('');
}

export function tokenLimit(limit) {
  return Math.min(limit ?? 64, 768);
}

export function sendJson(response, status, body) {
  const text = JSON.stringify(body);
  response.writeHead(status, { 'Content-Type': 'application/json', 'Content-Length': Buffer.byteLength(text) });
  response.end(text);
}

/** Begins a stream of server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html). */
export function eventStream(response) {
  response.writeHead(200, { 'Content-Type': 'text/event-stream; charset=utf-8', 'Cache-Control': 'no-cache' });
  const text = (value) => (typeof value === 'string' ? value : JSON.stringify(value));
  return {
    data: (value) => response.write(`data: ${text(value)}\n\n`),
    event: (name, value) => response.write(`event: ${name}\ndata: ${text(value)}\n\n`),
  };
}
