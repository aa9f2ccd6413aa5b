// What a gateway recorded, read from its admin listener.

import { until } from './poll.mjs';

const RECORDED_WITHIN_MS = 2_000;

/** The event of the request with `requestId`. A decision is on disk 100 ms after its response. */
export function eventOf(gateway, requestId) {
  return until(`an event of request ${requestId}`, RECORDED_WITHIN_MS, async () => {
    const response = await fetch(`${gateway.admin}/v1/events?request_id=${requestId}`);
    if (!response.ok) throw new Error(`GET /v1/events: ${response.status} ${await response.text()}`);
    const { events } = await response.json();
    if (events.length > 1) throw new Error(`request ${requestId} has ${events.length} events`);
    return events[0];
  });
}
