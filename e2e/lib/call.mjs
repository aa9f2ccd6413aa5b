// One request over a connection of its own, so that no test meets a connection that an earlier process had.

import { request } from 'node:http';

/**
 * Sends `body` as JSON, with this bearer, from this address of the machine. Gives the whole answer, `{status, headers, text}`;
 * fails when the connection ends before it.
 */
export function call(method, url, { key, body, localAddress } = {}) {
  return new Promise((resolve, reject) => {
    const headers = { 'content-type': 'application/json', ...(key && { authorization: `Bearer ${key}` }) };
    const asked = request(url, { method, headers, localAddress, agent: false });
    asked.on('error', reject);
    asked.on('response', (answer) => {
      let text = '';
      answer.setEncoding('utf8');
      answer.on('data', (part) => (text += part));
      answer.on('end', () => resolve({ status: answer.statusCode, headers: answer.headers, text }));
      answer.on('error', reject);
    });
    asked.end(body && JSON.stringify(body));
  });
}
