// `kt up` with its console, and people who use it in a real Chromium.

import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { chromium } from 'playwright-core';

import { CHROMIUM, ktBinary } from './places.mjs';
import { until } from './poll.mjs';
import { ServerProcess } from './process.mjs';

export const OWNER = { email: 'olive@acme.example', password: 'tall cedar 9 River, vexing otter' };

const FAKETIME = '/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1';
const FLAGS = ['--no-sandbox', '--disable-gpu', '--no-first-run', '--disable-background-networking', '--disable-sync'];

/**
 * Starts everything with an empty store. With `owner`, the first owner and the organization `acme` are made; otherwise
 * `setUpLink` leads to where they are. `policyConfig` is what its gateway is to do.
 */
export async function startConsole({ owner = OWNER, config = '', policyConfig = '', movesTime = false } = {}) {
  const directory = mkdtempSync(join(tmpdir(), 'keeptrusts-console-'));
  const file = join(directory, 'keeptrusts.yaml');
  writeFileSync(file, config);
  const clock = join(directory, 'clock');
  const time = movesTime ? timeOf(clock) : {};
  const env = { ...time };
  if (owner) {
    env.KEEPTRUSTS_BOOTSTRAP_EMAIL = owner.email;
    env.KEEPTRUSTS_BOOTSTRAP_PASSWORD = owner.password;
    env.KEEPTRUSTS_BOOTSTRAP_ORG = 'acme';
  }
  const free = ['--api-listen', '--console-listen', '--gateway-listen', '--gateway-admin-listen'];
  const listen = free.flatMap((flag) => [flag, '127.0.0.1:0']);
  const policy = join(directory, 'policy-config.yaml');
  writeFileSync(policy, policyConfig);
  const files = [...(config ? ['--config', file] : []), ...(policyConfig ? ['--policy-config', policy] : [])];
  const lines = [];
  const start = (listen) =>
    ServerProcess.start(ktBinary(), ['up', '--data-dir', join(directory, 'data'), ...files, ...listen], {
      ready: /^ready gateway=(?<gateway>\S+) admin=(?<admin>\S+) api=(?<api>\S+) console=(?<origin>\S+)$/,
      env,
      lines,
    });
  let server = await start(listen);
  const { gateway, admin, api, origin } = server.groups;
  const ports = [api, origin, gateway, admin].map((url) => `127.0.0.1:${new URL(url).port}`);
  return {
    ...server.groups,
    directory,
    /** The one-time link that is printed while there is no owner. */
    setUpLink: () => lines.map((line) => /\S+\/setup\?token=\S+/.exec(line)?.[0]).find(Boolean),
    /** With this environment another process has the time of the server. */
    time,
    /** Lets this much time pass for the server. */
    pass: (seconds) => moveTime(clock, seconds),
    /** The letters that were sent, the newest last. */
    outbox: join(directory, 'data', 'outbox'),
    /** Ends it as a crash would, with `kill -9`. */
    kill: () => server.kill(),
    /** Starts it again, at the same addresses. */
    restart: async () => {
      server = await start(free.flatMap((flag, index) => [flag, ports[index]]));
    },
    stop: async () => {
      await server.stop();
      rmSync(directory, { recursive: true, force: true });
    },
  };
}

/** Lets the server's clock be moved by a file. */
function timeOf(clock) {
  if (!existsSync(FAKETIME)) throw new Error('libfaketime is missing: e2e/setup installs it');
  moveTime(clock, 0);
  return { LD_PRELOAD: FAKETIME, FAKETIME_TIMESTAMP_FILE: clock, FAKETIME_NO_CACHE: '1', DONT_FAKE_MONOTONIC: '1' };
}

function moveTime(clock, seconds) {
  writeFileSync(clock, `+${seconds}s\n`);
}

/** A Chromium in which each person has a profile of their own. */
export async function startChromium() {
  const browser = await chromium.launch({ executablePath: CHROMIUM, args: FLAGS });
  return {
    /** A page of somebody who has never been here, and what went wrong on it. */
    person: async (origin, options = {}) => {
      const context = await browser.newContext({ baseURL: origin, ...options });
      const page = await context.newPage();
      const wrong = watch(page, origin);
      return { page, context, wrong };
    },
    stop: () => browser.close(),
  };
}

/** What no page may do: fail in its script, break its own policy, or ask another origin for anything. */
function watch(page, origin) {
  const wrong = [];
  page.on('pageerror', (error) => wrong.push(`error: ${error.message}`));
  page.on('console', (message) => {
    const text = message.text();
    // A refusal that a test asks for is told there too.
    const isAnswer = text.startsWith('Failed to load resource') || text.startsWith('Response Status Error Code');
    if (message.type() === 'error' && !isAnswer) wrong.push(`console: ${text}`);
  });
  page.on('request', (request) => {
    const url = request.url();
    if (!url.startsWith(origin) && !url.startsWith('data:') && !url.startsWith('blob:')) wrong.push(`asked: ${url}`);
  });
  return wrong;
}

/** Signs somebody in by the form, and waits for the page that they asked for. */
export async function signIn(page, { email, password } = OWNER, path = '/overview') {
  await page.goto(`/login?returnTo=${encodeURIComponent(path)}`);
  await page.getByLabel('E-mail').fill(email);
  await page.getByLabel('Password', { exact: true }).fill(password);
  await page.getByRole('button', { name: 'Sign in', exact: true }).click();
  await page.waitForURL((url) => url.pathname === path.split('?')[0]);
}

/** Signs somebody in by the form who asks for no page. Gives them where they are led to, and what went wrong on their pages. */
export async function knock({ origin }, chromium, { email, password }) {
  const person = await chromium.person(origin);
  const { page } = person;
  await page.goto('/login');
  await page.getByLabel('E-mail').fill(email);
  await page.getByLabel('Password', { exact: true }).fill(password);
  await page.getByRole('button', { name: 'Sign in', exact: true }).click();
  await page.waitForURL((url) => !['/', '/login'].includes(url.pathname));
  return person;
}

/** Whether somebody is in: at one of the pages where people begin who have asked for none. */
export const hasComeIn = (url) => ['/overview', '/chat', '/request-setup'].includes(new URL(url).pathname);

/** Comes to the sign-in page, which a passkey may answer before it is complete, and lead on from there. */
export async function comeToOffer(page) {
  await page.goto('/login', { waitUntil: 'commit' }).catch((error) => {
    if (!error.message.includes('is interrupted by another navigation')) throw error;
  });
}

/** Signs out by the menu. */
export async function signOut(page) {
  await page.goto('/overview');
  await page.locator('.me summary').click();
  await page.getByRole('button', { name: 'Sign out' }).click();
  await page.waitForURL('**/login');
}

/** Has the owner invite somebody, who makes an account by the link in the letter. */
export async function joinAs(console_, chromium, { email, password, role = 'member' }, host = null) {
  const owner = host ?? (await ownerOf(console_, chromium));
  await owner.goto('/settings/members');
  await owner.getByRole('button', { name: 'Invite' }).first().click();
  const dialog = owner.locator('dialog[open]');
  await dialog.getByLabel('E-mail').fill(email);
  await dialog.getByLabel('Role').selectOption(role);
  await dialog.getByRole('button', { name: 'Invite' }).click();
  const link = await linkTo(console_, email, '/register');
  const { page: guest } = await chromium.person(console_.origin);
  await guest.goto(link);
  await guest.getByLabel('Your name').fill(email.split('@')[0]);
  await guest.getByLabel('Password', { exact: true }).fill(password);
  await guest.getByRole('button', { name: 'Make my account' }).click();
  await guest.waitForURL(/\/login/);
}

async function ownerOf({ origin }, chromium) {
  const { page } = await chromium.person(origin);
  await signIn(page);
  return page;
}

/** The letters to an address, the newest first. */
export function lettersTo({ outbox }, email) {
  if (!existsSync(outbox)) return [];
  return readdirSync(outbox)
    .filter((name) => name.endsWith('.eml'))
    .sort()
    .reverse()
    .map((name) => readFileSync(join(outbox, name), 'utf8').replace(/=\r?\n/g, '').replaceAll('=3D', '='))
    .filter((letter) => new RegExp(`^To:.*${email}`, 'm').test(letter));
}

/** The link to `path` in the newest letter to an address that has one; a letter may still be on its way. */
export function linkTo(console_, email, path) {
  const link = new RegExp(`${console_.origin}${path}\\?token=[\\w-]+`);
  const find = () => lettersTo(console_, email).map((letter) => link.exec(letter)?.[0]).find(Boolean);
  return until(`a letter to ${email} with a link to ${path}`, 10_000, find);
}
