// Waiting for a condition, with a bound.

import { setTimeout as sleep } from 'node:timers/promises';

/**
 * The first truthy value of `probe`, asked every 20 ms; an error naming `what` when there is none within `limitMs`. `what` may
 * be a function, which is asked for its text only then.
 */
export async function until(what, limitMs, probe) {
  const deadline = Date.now() + limitMs;
  for (;;) {
    const value = await probe();
    if (value) return value;
    if (Date.now() > deadline) throw new Error(`${typeof what === 'function' ? what() : what}: not within ${limitMs} ms`);
    await sleep(20);
  }
}
