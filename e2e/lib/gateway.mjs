// `kt gateway run` in front of the model, with the keys and refusals that the tests need.

import { execFile } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { PROVIDER_KEY } from './model.mjs';
import { ktBinary } from './places.mjs';
import { ServerProcess } from './process.mjs';

export const MODEL = 'smollm2-135m';
export const CLAUDE = 'claude-smollm2';
/** A model whose provider does not answer. */
export const UNPLUGGED = 'unplugged';

export const KEYS = {
  /** May do everything. */
  app: 'key-of-the-application',
  /** May be used from a network that the tests do not run in. */
  elsewhere: 'key-for-another-network',
  /** May be used once a minute. */
  seldom: 'key-for-one-request-a-minute',
};
export const WRONG_KEY = 'key-of-nobody';

export const MAX_REQUEST_BYTES = 65_536;

const ENVIRONMENT = {
  E2E_PROVIDER_KEY: PROVIDER_KEY,
  E2E_KEY_APP: KEYS.app,
  E2E_KEY_ELSEWHERE: KEYS.elsewhere,
  E2E_KEY_SELDOM: KEYS.seldom,
};

/** A whole configuration in front of the model at `modelUrl`; `sections` replaces top-level keys. */
export async function configuration(modelUrl, sections = {}) {
  const secret_key_ref = { env: 'E2E_PROVIDER_KEY' };
  return {
    pack: { name: 'end-to-end', version: '1.0.0' },
    providers: {
      targets: [
        { id: 'smollm', provider: `openai:chat:${MODEL}`, base_url: `${modelUrl}/v1`, secret_key_ref },
        { id: 'claude', provider: `anthropic:messages:${CLAUDE}`, base_url: `${modelUrl}/v1`, secret_key_ref },
        {
          id: 'unplugged',
          provider: `openai:chat:${UNPLUGGED}`,
          base_url: await deafAddress(),
          secret_key_ref,
          priority: 1, // only for what names its model
        },
      ],
    },
    policies: { chain: ['audit-logger'] },
    policy: { 'audit-logger': { immutable: true, retention_days: 30, log_all_access: true } },
    size_limits: { max_request_body_bytes: MAX_REQUEST_BYTES },
    auth: {
      mode: 'static',
      keys: [
        { id: 'app', secret_key_ref: { env: 'E2E_KEY_APP' } },
        { id: 'elsewhere', secret_key_ref: { env: 'E2E_KEY_ELSEWHERE' }, allowed_ranges: ['10.0.0.0/8'] },
        { id: 'seldom', secret_key_ref: { env: 'E2E_KEY_SELDOM' }, requests_per_minute: 1 },
      ],
    },
    ...sections,
  };
}

/** Starts a gateway with `config` and a data directory of its own, which goes when the gateway stops. */
export async function startGateway(config) {
  const place = await Place.make(config);
  const server = await ServerProcess.start(ktBinary(), place.arguments, {
    ready: /^ready gateway=(?<url>\S+) admin=(?<admin>\S+)$/,
    env: ENVIRONMENT,
  });
  const { url, admin } = server.groups;
  return {
    url,
    admin,
    /** Puts `changed` in the place of the configuration and asks for it to be read; gives the admin listener's answer. */
    reload: async (changed) => {
      await place.write(changed);
      return fetch(`${admin}/keeptrusts/config/reload`, { method: 'POST' });
    },
    stop: async () => {
      await server.stop();
      await place.remove();
    },
  };
}

/** The exit status and standard error of a gateway that should refuse to start with `config`. */
export async function refusedStart(config) {
  const place = await Place.make(config);
  const options = { env: { ...process.env, ...ENVIRONMENT }, timeout: 10_000 };
  const outcome = new Promise((resolve) => {
    execFile(ktBinary(), place.arguments, options, (error, _, stderr) => resolve({ status: error?.code ?? 0, stderr }));
  });
  return outcome.finally(() => place.remove());
}

/** A folder with a gateway's configuration and data. */
class Place {
  #directory;

  static async make(config) {
    const place = new Place();
    place.#directory = await mkdtemp(join(tmpdir(), 'keeptrusts-e2e-'));
    await place.write(config);
    return place;
  }

  get arguments() {
    const listen = ['--listen', '127.0.0.1:0', '--admin-listen', '127.0.0.1:0'];
    const data = join(this.#directory, 'data');
    return ['gateway', 'run', '--policy-config', this.#file, ...listen, '--data-dir', data];
  }

  write(config) {
    return writeFile(this.#file, JSON.stringify(config, null, 2)); // JSON is YAML
  }

  remove() {
    return rm(this.#directory, { recursive: true });
  }

  get #file() {
    return join(this.#directory, 'policy-config.yaml');
  }
}

/** An address at which nobody listens. */
async function deafAddress() {
  const server = createServer();
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address();
  await new Promise((resolve) => server.close(resolve));
  return `http://127.0.0.1:${port}/v1`;
}
