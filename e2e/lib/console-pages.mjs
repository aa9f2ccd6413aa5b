// The console's pages, by who may see them.

/** Pages that anybody may see. */
export const OPEN = ['/login', '/register', '/verify-email', '/forgot-password', '/reset-password', '/pending', '/help', '/design'];

/** Pages of somebody signed in. */
export const OF_MEMBERS = ['/overview', '/settings/profile', '/settings/security', '/settings/organization', '/settings/access-keys', '/mfa/setup'];

/** Pages of an owner besides. */
export const OF_OWNERS = ['/events', '/audit-log', '/gateways', '/settings/members', '/settings/gateway-keys'];
