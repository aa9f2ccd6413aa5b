// SimpleSAMLphp as an identity provider, with people of our choice.

import { execFileSync, spawn } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { until } from './poll.mjs';

const ROOT = '/usr/share/simplesamlphp/www';

/**
 * Starts one that knows `people`: for each user name a `password` and `attributes` (lists of texts). `time` is an environment
 * that gives it another time.
 *
 * It stands at 127.0.0.1, and a console at localhost: two sites, as in life.
 */
export async function startSimpleSamlPhp(people, time = {}) {
  if (!existsSync(ROOT)) throw new Error('simplesamlphp is missing: e2e/setup installs it');
  const directory = mkdtempSync(join(tmpdir(), 'keeptrusts-simplesamlphp-'));
  const port = await freePort();
  const origin = `http://127.0.0.1:${port}`;
  configure(directory, origin, people);
  const server = spawn('php', ['-S', `127.0.0.1:${port}`, '-t', ROOT], {
    env: { ...process.env, ...time, SIMPLESAMLPHP_CONFIG_DIR: join(directory, 'config'), PHP_CLI_SERVER_WORKERS: '4' },
    stdio: 'ignore',
    // A group of its own, so that its workers end with it.
    detached: true,
  });
  const metadataUrl = `${origin}/saml2/idp/metadata.php`;
  await until('SimpleSAMLphp', 30_000, async () => (await fetch(metadataUrl).catch(() => null))?.ok);
  return {
    origin,
    metadataUrl,
    /** Makes a service known to it, by the service's own metadata. */
    trust: ({ entityId, acsUrl, logoutUrl, certificate }) => {
      const service = {
        AssertionConsumerService: acsUrl,
        SingleLogoutService: logoutUrl,
        NameIDFormat: 'urn:oasis:names:tc:SAML:2.0:nameid-format:persistent',
        'simplesaml.nameidattribute': 'uid',
        'simplesaml.attributes': true,
        'sign.logout': true,
        'validate.logout': true,
        'validate.authnrequest': true,
        certData: certificate,
      };
      const text = `<?php $metadata[${php(entityId)}] = ${php(service)};`;
      writeFileSync(join(directory, 'metadata', 'saml20-sp-remote.php'), text);
    },
    stop: () => {
      process.kill(-server.pid, 'SIGKILL');
      rmSync(directory, { recursive: true, force: true });
    },
  };
}

function configure(directory, origin, people) {
  for (const folder of ['config', 'cert', 'metadata', 'data', 'temp', 'log']) mkdirSync(join(directory, folder));
  const key = ['-newkey', 'rsa:2048', '-nodes', '-keyout', join(directory, 'cert', 'idp.pem')];
  const certificate = ['-out', join(directory, 'cert', 'idp.crt'), '-days', '365', '-subj', '/CN=idp.example'];
  execFileSync('openssl', ['req', '-x509', ...key, ...certificate], { stdio: 'ignore' });
  const config = {
    baseurlpath: `${origin}/`,
    certdir: `${directory}/cert/`,
    datadir: `${directory}/data/`,
    loggingdir: `${directory}/log/`,
    tempdir: `${directory}/temp/`,
    'logging.handler': 'file',
    'metadata.sources': [{ type: 'flatfile', directory: `${directory}/metadata` }],
    'enable.saml20-idp': true,
    'module.enable': { core: true, saml: true, exampleauth: true },
    'auth.adminpassword': 'not used by anybody',
    secretsalt: 'a salt of nobody',
    timezone: 'UTC',
    'language.default': 'en',
    'language.available': ['en'],
    'store.type': 'phpsession',
    'session.cookie.secure': false,
    'session.cookie.samesite': 'Lax',
    'session.phpsession.savepath': `${directory}/temp`,
    'session.phpsession.httponly': true,
  };
  writeFileSync(join(directory, 'config', 'config.php'), `<?php $config = ${php(config)};`);
  const users = { 0: 'exampleauth:UserPass' };
  for (const [name, { password, attributes }] of Object.entries(people)) {
    users[`${name}:${password}`] = { uid: [name], ...attributes };
  }
  writeFileSync(join(directory, 'config', 'authsources.php'), `<?php $config = ${php({ people: users })};`);
  const hosted = {
    host: '__DEFAULT__',
    privatekey: 'idp.pem',
    certificate: 'idp.crt',
    auth: 'people',
    NameIDFormat: ['urn:oasis:names:tc:SAML:2.0:nameid-format:persistent'],
    'sign.logout': true,
    authproc: {
      3: { class: 'saml:AttributeNameID', attribute: 'uid', Format: 'urn:oasis:names:tc:SAML:2.0:nameid-format:persistent' },
    },
  };
  const entity = `${origin}/saml2/idp/metadata.php`;
  writeFileSync(join(directory, 'metadata', 'saml20-idp-hosted.php'), `<?php $metadata[${php(entity)}] = ${php(hosted)};`);
  writeFileSync(join(directory, 'metadata', 'saml20-sp-remote.php'), '<?php');
}

/** A value as PHP writes it. */
function php(value) {
  if (Array.isArray(value)) return `[${value.map(php).join(', ')}]`;
  if (value && typeof value === 'object') {
    const pairs = Object.entries(value).map(([key, inner]) => `${/^\d+$/.test(key) ? key : php(key)} => ${php(inner)}`);
    return `[${pairs.join(', ')}]`;
  }
  if (typeof value === 'string') return `'${value.replace(/[\\']/g, '\\$&')}'`;
  return String(value);
}

function freePort() {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });
}

/** Signs in at its page. */
export async function proveAt(page, { origin }, name, password) {
  await page.waitForURL((url) => url.origin === origin);
  await page.locator('#username').fill(name);
  await page.locator('#password').fill(password);
  await page.locator('#password').press('Enter');
}
