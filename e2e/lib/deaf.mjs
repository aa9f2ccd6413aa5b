// A port of this machine behind which nobody is: whoever connects hears nothing, as where a host has vanished.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { connect } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';

/** Listens and never takes a connection. */
const DEAF = `
  require('node:net').createServer().listen({ host: '127.0.0.1', port: Number(process.argv[1]), backlog: 1 }, () => {
    process.stdout.write('deaf');
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
  });`;

/** How long the system takes to accept a connection that it accepts at all, in milliseconds. */
const ACCEPTED_WITHIN = 500;

/** How many connections wait at most where nobody takes them; the system rounds what it is told up. */
const MOST_WAITING = 16;

/** Makes a port deaf: its queue is full, so that the system drops whatever comes. */
export async function startDeaf(port) {
  const child = spawn(process.execPath, ['-e', DEAF, String(port)], { stdio: ['ignore', 'pipe', 'inherit'] });
  await once(child.stdout, 'data');
  const waiting = [];
  let isFull = false;
  while (!isFull && waiting.length < MOST_WAITING) {
    const socket = connect(port, '127.0.0.1');
    socket.on('error', () => {});
    waiting.push(socket);
    isFull = await Promise.race([once(socket, 'connect').then(() => false), sleep(ACCEPTED_WITHIN, true)]);
  }
  const stop = async () => {
    for (const socket of waiting) socket.destroy();
    child.kill('SIGKILL');
    await once(child, 'exit');
  };
  if (!isFull) {
    await stop();
    throw new Error(`port ${port} still takes connections`);
  }
  return { stop };
}
