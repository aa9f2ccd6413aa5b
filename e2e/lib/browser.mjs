// A real Chromium that keeps a record of every HTTP exchange of its run.

import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { chromium } from 'playwright-core';

import { CHROMIUM } from './places.mjs';
import { until } from './poll.mjs';

const FLAGS = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
];

export async function startBrowser() {
  const directory = await mkdtemp(join(tmpdir(), 'keeptrusts-e2e-browser-'));
  const log = join(directory, 'net-log.json');
  const record = [`--log-net-log=${log}`, '--net-log-capture-mode=IncludeSensitive'];
  const browser = await chromium.launch({ executablePath: CHROMIUM, args: [...FLAGS, ...record] });
  return {
    /** A page of the application at `origin`, in a profile of its own, ready for use. */
    open: async (origin) => {
      const page = await (await browser.newContext()).newPage();
      await page.goto(`${origin}/index.html`);
      await page.waitForFunction(() => globalThis.app);
      return page;
    },
    /**
     * Ends the browser and returns each exchange of its run, as it was on the wire: `{method, url, status, headers}`,
     * `headers` a list of `[lower-case name, value]`.
     */
    stop: async () => {
      await browser.close();
      const exchanges = readExchanges(await completeLog(log));
      await rm(directory, { recursive: true });
      return exchanges;
    },
  };
}

/** The network log, once Chromium has written its end. */
function completeLog(path) {
  return until('the whole network log', 10_000, async () => {
    try {
      return JSON.parse(await readFile(path, 'utf8'));
    } catch (error) {
      if (error instanceof SyntaxError || error.code === 'ENOENT') return null;
      throw error;
    }
  });
}

/**
 * The exchanges of a network log (https://www.chromium.org/for-testers/providing-network-details/). The events of one
 * request share a source; a request that is redirected or sent again has several pairs of them, in order.
 */
function readExchanges({ constants, events }) {
  const { URL_REQUEST_START_JOB, HTTP_TRANSACTION_READ_RESPONSE_HEADERS } = constants.logEventTypes;
  const begun = new Map();
  const exchanges = [];
  for (const { type, source, params } of events) {
    if (type === URL_REQUEST_START_JOB && params) begun.set(source.id, params);
    if (type !== HTTP_TRANSACTION_READ_RESPONSE_HEADERS || !params) continue;
    const { method, url } = begun.get(source.id);
    const [statusLine, ...lines] = params.headers;
    exchanges.push({ method, url, status: Number(statusLine.split(' ')[1]), headers: lines.map(headerField) });
  }
  return exchanges;
}

function headerField(line) {
  const colon = line.indexOf(':');
  return [line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim()];
}
