// A server process that a test starts and stops.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';

const START_LIMIT_MS = 30_000;
const STOP_LIMIT_MS = 10_000;

export class ServerProcess {
  #child;

  /**
   * Starts `command` and waits for the line on its standard output that `ready` (a regular expression) matches.
   * Afterwards `groups` holds the match's named groups. Every further line is put into `lines`. What the process says on
   * standard error goes to the test's own.
   */
  static async start(command, args, { ready, env = {}, lines = [] }) {
    const child = spawn(command, args, { env: { ...process.env, ...env }, stdio: ['ignore', 'pipe', 'inherit'] });
    const server = new ServerProcess(child);
    try {
      server.groups = await readyLine(child, ready, lines);
      return server;
    } catch (error) {
      child.kill('SIGKILL');
      throw new Error(`${[command, ...args].join(' ')}: ${error.message}`);
    }
  }

  constructor(child) {
    this.#child = child;
  }

  /** Kills the process, which can do nothing about it, and waits until it is gone. */
  async kill() {
    const ended = once(this.#child, 'exit');
    this.#child.kill('SIGKILL');
    await ended;
  }

  /** Asks the process to end and waits until it has; one that does not `within` that time is killed, and that is an error. */
  async stop(within = STOP_LIMIT_MS) {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const ended = once(this.#child, 'exit');
    this.#child.kill('SIGTERM');
    const late = setTimeout(() => this.#child.kill('SIGKILL'), within);
    const [, signal] = await ended;
    clearTimeout(late);
    if (signal === 'SIGKILL') throw new Error(`${this.#child.spawnfile} did not end within ${within} ms of SIGTERM`);
  }
}

/** The named groups of the first line of `child` that matches; the lines are read and put into `lines`. */
async function readyLine(child, pattern, lines) {
  let late;
  const line = new Promise((resolve, reject) => {
    late = setTimeout(() => reject(new Error(`not ready within ${START_LIMIT_MS} ms`)), START_LIMIT_MS);
    child.once('error', reject);
    child.once('exit', (status, signal) => reject(new Error(`ended (${status ?? signal}) before it was ready`)));
    createInterface({ input: child.stdout }).on('line', (text) => {
      lines.push(text);
      const match = pattern.exec(text);
      if (match) resolve(match.groups);
    });
  });
  try {
    return await line;
  } finally {
    clearTimeout(late);
  }
}
