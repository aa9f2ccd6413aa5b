// The console's pages, by who may see them.

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
  '/settings/provider-credentials',
  '/settings/security/sso',
];
