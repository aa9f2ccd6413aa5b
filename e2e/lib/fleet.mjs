// Several control planes and gateways, each a process of its own, over one PostgreSQL and one Redis.

import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { call } from './call.mjs';
import { OWNER } from './console.mjs';
import { E2E, ktBinary } from './places.mjs';
import { ServerProcess } from './process.mjs';

/** How long a process may take that lets what is under way finish. */
const ENDS_WITHIN_MS = 45_000;

/** Starts two control planes, with OWNER in both, and what they share. Gateways are started one by one. */
export async function startFleet() {
  const directory = mkdtempSync(join(tmpdir(), 'keeptrusts-fleet-'));
  chmodSync(directory, 0o755); // the database server runs as somebody else
  const place = (name) => join(directory, name);
  const store = (command, name) => execFileSync(join(E2E, name), [command, place(name)], { encoding: 'utf8' }).trim();
  const [postgres, redis] = ['postgres', 'redis'].map((name) => store('start', name));

  const servers = [];
  const gateways = [];
  let places = 0;
  for (const name of ['server-0', 'server-1']) {
    servers.push(
      await Member.start(['server', 'run', '--data-dir', place(name)], {
        ready: /^ready api=(?<api>\S+) console=(?<console>\S+)$/,
        listeners: { api: '--api-listen', console: '--console-listen' },
        env: {
          KEEPTRUSTS_DATABASE__URL: postgres,
          KEEPTRUSTS_REDIS__URL: redis,
          KEEPTRUSTS_SECRETS__KEY_FILE: place('secrets.key'),
          KEEPTRUSTS_API__PUBLIC_URL: 'https://api.acme.example',
          KEEPTRUSTS_BOOTSTRAP_EMAIL: OWNER.email,
          KEEPTRUSTS_BOOTSTRAP_PASSWORD: OWNER.password,
          KEEPTRUSTS_BOOTSTRAP_ORG: 'acme',
        },
      }),
    );
  }
  const balancer = await startBalancer(servers.map(({ groups }) => Number(new URL(groups.api).port)));
  return {
    servers,
    gateways,
    /** Starts another gateway, which finds whichever control plane is there and runs what it is told. */
    addGateway: async (token) => {
      const data = place(`gateway-${(places += 1)}`);
      const where = ['--api-url', balancer.url, '--redis-url', redis];
      const gateway = await Member.start(['gateway', 'run', '--data-dir', data, ...where], {
        ready: /^ready gateway=(?<url>\S+) admin=(?<admin>\S+)$/,
        listeners: { url: '--listen', admin: '--admin-listen' },
        env: { KEEPTRUSTS_GATEWAY_TOKEN: token },
      });
      gateways.push(gateway);
      return gateway;
    },
    stop: async () => {
      for (const member of [...gateways, ...servers]) await member.stop();
      balancer.stop();
      for (const name of ['postgres', 'redis']) store('stop', name);
      rmSync(directory, { recursive: true, force: true });
    },
  };
}

/** The owner at one of the control planes: `(method, path, body)` gives the JSON that it answers. */
export async function ownerAt({ groups }) {
  const ask = async (method, path, body, key) => {
    const answer = await call(method, `${groups.api}${path}`, { key, body });
    if (answer.status >= 300) throw new Error(`${method} ${path}: ${answer.status} ${answer.text}`);
    return answer.text ? JSON.parse(answer.text) : null;
  };
  const { access_token: token } = await ask('POST', '/v1/auth/login', OWNER);
  return (method, path, body) => ask(method, path, body, token);
}

/** A process of the fleet, which keeps its addresses from one life to the next. */
class Member {
  #args;
  #how;
  #process;

  static async start(args, { listeners, ...how }) {
    const member = new Member();
    const free = Object.values(listeners).flatMap((flag) => [flag, '127.0.0.1:0']);
    member.#process = await ServerProcess.start(ktBinary(), [...args, ...free], how);
    /** Its addresses, by their names. */
    member.groups = member.#process.groups;
    const kept = Object.entries(listeners).flatMap(([name, flag]) => [flag, `127.0.0.1:${new URL(member.groups[name]).port}`]);
    member.#args = [...args, ...kept];
    member.#how = how;
    /** When it was killed, as often as it was. */
    member.kills = [];
    member.isUp = true;
    return member;
  }

  /** Ends it as a crash would, with `kill -9`. */
  async kill() {
    this.isUp = false;
    this.kills.push(Date.now());
    await this.#process.kill();
  }

  /** Asks it to end, and waits until what it had under way has finished. */
  async end() {
    this.isUp = false;
    await this.#process.stop(ENDS_WITHIN_MS);
  }

  async restart() {
    this.#process = await ServerProcess.start(ktBinary(), this.#args, this.#how);
    this.isUp = true;
  }

  stop() {
    return this.#process.stop();
  }
}

/** A balancer as simple as can be: each connection goes to the first port, in turn, that takes it. */
async function startBalancer(ports) {
  let turn = 0;
  const open = new Set();
  const server = createServer((client) => {
    const lead = (tries) => {
      if (tries === 0) return client.destroy();
      const target = connect(ports[(turn += 1) % ports.length], '127.0.0.1');
      target.once('error', () => lead(tries - 1));
      target.once('connect', () => {
        target.removeAllListeners('error');
        for (const [from, to] of [[client, target], [target, client]]) {
          from.on('error', () => to.destroy());
          from.on('close', () => to.destroy());
          from.pipe(to);
        }
      });
    };
    client.on('error', () => {});
    open.add(client);
    client.on('close', () => open.delete(client));
    lead(ports.length);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    url: `http://127.0.0.1:${server.address().port}`,
    stop: () => {
      server.close();
      for (const client of open) client.destroy();
    },
  };
}
