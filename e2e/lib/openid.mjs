// A certified OIDC provider, `oidc-provider`, with one client: the console of a test.

import Provider from 'oidc-provider';

export const CLIENT = { id: 'keeptrusts', secret: 'a secret: of/the+client' };

/**
 * Starts a provider for the console at `origin`. Whatever somebody types as their login is who they are: `NAME@acme.example`.
 * It tells their groups, by `groups`, to whoever asks for that scope.
 */
export async function startOpenId(origin, { port = 0 } = {}) {
  const { createServer } = await import('node:http');
  const server = createServer();
  await new Promise((resolve) => server.listen(port, 'localhost', resolve));
  const groups = {};
  const issuer = `http://localhost:${server.address().port}`;
  const provider = new Provider(issuer, {
    clients: [{
      client_id: CLIENT.id,
      client_secret: CLIENT.secret,
      redirect_uris: [`${origin}/sso/oidc/acme/callback`],
      backchannel_logout_uri: `${origin}/sso/oidc/acme/logout`,
      backchannel_logout_session_required: true,
    }],
    claims: { openid: ['sub'], email: ['email', 'email_verified'], profile: ['name'], groups: ['groups'] },
    features: { backchannelLogout: { enabled: true } },
    // Its own guard lets it send logout tokens to the internet alone; this console is on this machine.
    fetch: (url, { dispatcher, ...options }) => fetch(url, options),
    pkce: { required: () => true },
    findAccount: (_, sub) => ({
      accountId: sub,
      claims: () => ({
        sub, email: `${sub}@acme.example`, email_verified: true, name: `Somebody called ${sub}`, groups: groups[sub],
      }),
    }),
  });
  // Its warnings about what is meant for development stand in nobody's way here.
  provider.on('server_error', (_, error) => console.error(error));
  provider.on('backchannel.error', (_, error) => console.error(error));
  server.on('request', provider.callback());
  return {
    issuer,
    /** The groups of each who is in some. */
    groups,
    stop: () => new Promise((resolve) => {
      server.close(resolve);
      server.closeAllConnections();
    }),
  };
}

/** Proves to the provider who somebody is, and agrees to what it asks. */
export async function proveAt(page, issuer, login) {
  await page.waitForURL((url) => url.href.startsWith(`${issuer}/interaction/`));
  const name = page.locator('input[name=login]');
  if (await name.count()) {
    await name.fill(login);
    await page.locator('input[name=password]').fill('anything');
    await page.locator('button[type=submit]').click();
  }
  const agree = page.getByRole('button', { name: 'Continue' });
  await Promise.race([agree.waitFor(), page.waitForURL((url) => !url.href.startsWith(issuer))]);
  if (page.url().startsWith(issuer)) await agree.click();
}
