// Waiting for a condition, with a bound.

import { setTimeout as sleep } from 'node:timers/promises';

/** The first truthy value of `probe`, asked every 20 ms; an error naming `what` when there is none within `limitMs`. */
export async function until(what, limitMs, probe) {
  const deadline = Date.now() + limitMs;
  for (;;) {
    const value = await probe();
    if (value) return value;
    if (Date.now() > deadline) throw new Error(`${what}: not within ${limitMs} ms`);
    await sleep(20);
  }
}
