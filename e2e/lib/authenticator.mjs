// What people hold in their hand: Chromium's virtual authenticator, and an authenticator app.

import { execFileSync } from 'node:child_process';

import jsQR from 'jsqr';

const OPTIONS = {
  protocol: 'ctap2',
  ctap2Version: 'ctap2_1',
  transport: 'internal',
  hasResidentKey: true,
  hasUserVerification: true,
  isUserVerified: true,
  automaticPresenceSimulation: true,
};

/** Gives a page an authenticator, with what another one holds if `credentials` are given. */
export async function authenticator(page, { credentials = [], ...options } = {}) {
  const devtools = await page.context().newCDPSession(page);
  await devtools.send('WebAuthn.enable');
  const { authenticatorId } = await devtools.send('WebAuthn.addVirtualAuthenticator', { options: { ...OPTIONS, ...options } });
  const send = (method, parameters = {}) => devtools.send(`WebAuthn.${method}`, { authenticatorId, ...parameters });
  for (const credential of credentials) await send('addCredential', { credential });
  return { send, credentials: async () => (await send('getCredentials')).credentials };
}

/** The code that an authenticator app shows at this moment, or so many seconds later. */
export function codeOf(secret, later = 0) {
  const now = `@${Math.floor(Date.now() / 1000) + later}`;
  return execFileSync('oathtool', ['--totp', '--base32', `--now=${now}`, secret], { encoding: 'utf8' }).trim();
}

/** What the camera of a phone reads of a part of a page: the text of its QR code. */
export async function scan(part) {
  const picture = (await part.screenshot()).toString('base64');
  const dark = await part.page().context().newPage();
  const { pixels, width, height } = await dark.evaluate(async (picture) => {
    const bitmap = await createImageBitmap(await (await fetch(`data:image/png;base64,${picture}`)).blob());
    const canvas = new OffscreenCanvas(bitmap.width, bitmap.height).getContext('2d');
    canvas.drawImage(bitmap, 0, 0);
    const { data, width, height } = canvas.getImageData(0, 0, bitmap.width, bitmap.height);
    return { pixels: Array.from(data), width, height };
  }, picture);
  await dark.close();
  return jsQR(new Uint8ClampedArray(pixels), width, height)?.data;
}

/** Adds an app on the page for second factors, so many seconds later; its secret. */
export async function enrolApp(page, later = 0) {
  await page.getByRole('button', { name: 'Use an authenticator app' }).click();
  const secret = await page.locator('#secret').textContent();
  await page.getByLabel('Verification code').fill(codeOf(secret, later));
  await page.getByRole('button', { name: 'Enable MFA' }).click();
  await page.getByRole('heading', { name: 'Save your recovery codes' }).waitFor();
  await page.getByRole('link', { name: 'I have saved them' }).click();
  return secret;
}
