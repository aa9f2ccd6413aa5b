// The console's pages, by who may see them.

import { until } from './poll.mjs';

/** Pages that anybody may see. */
export const OPEN = [
  '/login',
  '/login/sso',
  '/register',
  '/verify-email',
  '/forgot-password',
  '/reset-password?token=none',
  '/undo-email-change?token=none',
  '/pending',
  '/help',
  '/help/getting-started',
  '/design',
];

/** Pages of somebody signed in. */
export const OF_MEMBERS = [
  '/mfa/setup',
  '/device',
  '/settings/security',
  '/settings/organization',
  '/settings/access-keys',
  '/overview',
  '/chat',
  '/tasks',
  '/request-setup',
  '/usage',
  '/settings/profile',
];

/** Pages of an owner besides. */
export const OF_OWNERS = [
  '/events',
  '/audit-log',
  '/gateways',
  '/configurations',
  '/configurations/new',
  '/setup/provider',
  '/setup/provider/done',
  '/setup/gateway',
  '/settings/members',
  '/settings/gateway-keys',
  '/settings/provisioning-keys',
  '/settings/provider-credentials',
  '/settings/security/sso',
  '/settings/security/sessions',
];

/** Lists whose entries have pages of their own. */
const LISTS = [
  '/events',
  '/audit-log',
  '/gateways',
  '/configurations',
  '/configurations/main/versions',
  '/settings/members',
  '/settings/access-keys',
  '/settings/gateway-keys',
  '/settings/provisioning-keys',
];

/** For each of the lists, the page of its first entry; an event may still be on its way. */
export async function firstOfEach(page) {
  const found = [];
  for (const list of LISTS) {
    const first = page.locator(`main tbody a[href^="${list}/"]`).first();
    await until(`an entry of ${list}`, 20_000, async () => {
      await page.goto(list);
      return first.isVisible();
    });
    found.push(await first.getAttribute('href'));
  }
  return found;
}
