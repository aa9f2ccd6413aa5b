// The provider behind the gateway: the real model of `model/server.mjs`.

import { join } from 'node:path';

import { E2E, MODEL_FILE } from './places.mjs';
import { ServerProcess } from './process.mjs';

export const PROVIDER_KEY = 'key-of-the-gateway-at-the-provider';

export async function startModel() {
  const server = await ServerProcess.start(process.execPath, [join(E2E, 'model', 'server.mjs'), MODEL_FILE], {
    ready: /^ready (?<url>\S+)$/,
    env: { MODEL_API_KEY: PROVIDER_KEY },
  });
  const { url } = server.groups;
  return {
    url,
    /** What reached it so far: `requests` by method and path, `in_flight`, `aborted`, `last_headers`. */
    stats: async () => (await fetch(`${url}/__stats`)).json(),
    stop: () => server.stop(),
  };
}
