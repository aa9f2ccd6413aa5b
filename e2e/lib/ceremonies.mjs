// The ceremonies of passkeys, overheard between a page and the console, changed on the way, and judged by a second verifier.

import { createServer } from 'node:http';

import { verifyAuthenticationResponse, verifyRegistrationResponse } from '@simplewebauthn/server';

export const RP_ID = 'localhost';

/** What the browser says of a ceremony: its kind, the challenge, the page that asked. */
export const clientData = ({ response }) => JSON.parse(Buffer.from(response.clientDataJSON, 'base64url').toString());

/**
 * Overhears every answer of an authenticator that a page sends. `change` may put another in its place. Gives what is said
 * from then on, the newest last: the answer, the challenge that was asked with, the whole body, and how it was taken.
 */
export async function overhear(page) {
  const said = [];
  const ear = { said, change: null };
  await page.route('**', async (route) => {
    const request = route.request();
    const fields = new URLSearchParams(request.postData() ?? '');
    if (request.method() !== 'POST' || !fields.has('credential')) return route.fallback();
    const own = JSON.parse(fields.get('credential'));
    const { challenge } = clientData(own);
    const credential = ear.change ? await ear.change(own, challenge) : own;
    fields.set('credential', JSON.stringify(credential));
    const body = fields.toString();
    await route.continue({ postData: body });
    const answer = await request.response();
    // A page that was left meanwhile does not hear what came of it.
    if (!answer) return;
    const status = answer.status();
    said.push({ credential, challenge, path: new URL(request.url()).pathname, body, status, isTaken: status < 300 });
  });
  return ear;
}

/** Runs in a page: has the browser answer a challenge of the console's with a passkey that it has, or make one. */
export async function answerIn(page, challenge, kind = 'webauthn.get') {
  return page.evaluate(
    async ([challenge, kind, rpId]) => {
      if (kind === 'webauthn.get') {
        const asked = { challenge, rpId, userVerification: 'required' };
        const publicKey = PublicKeyCredential.parseRequestOptionsFromJSON(asked);
        return (await navigator.credentials.get({ publicKey })).toJSON();
      }
      const asked = {
        challenge,
        rp: { id: rpId, name: 'A prize' },
        user: { id: 'AAAAAAAAAAAAAAAAAAAAAA', name: 'you', displayName: 'You' },
        pubKeyCredParams: [{ type: 'public-key', alg: -7 }],
        authenticatorSelection: { residentKey: 'required', userVerification: 'required' },
      };
      const publicKey = PublicKeyCredential.parseCreationOptionsFromJSON(asked);
      return (await navigator.credentials.create({ publicKey })).toJSON();
    },
    [challenge, kind, RP_ID],
  );
}

/** What @simplewebauthn/server makes of a passkey that was made: the credential, or nothing. */
export async function judgeMade({ credential, challenge }, origin) {
  try {
    const { verified, registrationInfo } = await verifyRegistrationResponse({ ...expected(challenge, origin), response: credential });
    return verified ? registrationInfo.credential : null;
  } catch {
    return null;
  }
}

/** What it makes of one that was shown, by what it knows of it: the counter that it stands at now, or nothing. */
export async function judgeShown({ credential, challenge }, origin, known) {
  try {
    const judged = await verifyAuthenticationResponse({ ...expected(challenge, origin), response: credential, credential: known });
    return judged.verified ? judged.authenticationInfo.newCounter : null;
  } catch {
    return null;
  }
}

const expected = (challenge, origin) => ({
  expectedChallenge: challenge,
  expectedOrigin: origin,
  expectedRPID: RP_ID,
  requireUserVerification: true,
});

/** A page of another origin, to which the passkeys of `localhost` answer all the same. */
export async function startPhisher() {
  const server = createServer((_, answer) => answer.setHeader('Content-Type', 'text/html').end('<title>Win a prize</title>'));
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  return { origin: `http://localhost:${server.address().port}`, stop: () => server.close() };
}
