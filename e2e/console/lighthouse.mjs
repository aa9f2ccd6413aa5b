// Has Lighthouse look at every page of the console, and fails where a score is below what is promised, or where another page
// was shown than the one that was asked for.
//
//     npm install --prefix DIRECTORY lighthouse
//     LIGHTHOUSE=DIRECTORY/node_modules/.bin/lighthouse node e2e/console/lighthouse.mjs            as on a desk
//     LIGHTHOUSE=DIRECTORY/node_modules/.bin/lighthouse node e2e/console/lighthouse.mjs --mobile   as on a slow phone
//
// Beginnings of addresses, such as /settings, may follow: then it looks at those pages alone.
//
// Lighthouse and all that it brings is larger than everything else here and slow on two cores, so it is run by hand.
// `KT` names the `kt` to look at: an optimised build, where performance is the question.

import { execFileSync } from 'node:child_process';

import { OF_MEMBERS, OF_OWNERS, OPEN, firstOfEach } from '../lib/console-pages.mjs';
import { signIn, startChromium, startConsole } from '../lib/console.mjs';
import { furnish, work } from '../lib/furnish.mjs';
import { CHROMIUM } from '../lib/places.mjs';

const isMobile = process.argv.includes('--mobile');
const wanted = process.argv.slice(2).filter((argument) => argument !== '--mobile');
const PROMISED = { performance: 95, accessibility: 100, 'best-practices': 100 };

/** What `work` gives; asked once more if it fails: now and then a browser does not come up in time. */
function orOnceMore(work) {
  try {
    return work();
  } catch {
    return work();
  }
}

/** What Lighthouse says of one page: a score of each category in percent, and the audits that cost something. */
function lookAt(address, headers) {
  const preset = isMobile ? [] : ['--preset=desktop'];
  const options = ['--quiet', '--output=json', ...preset, `--only-categories=${Object.keys(PROMISED)}`];
  const flags = '--chrome-flags=--headless=new --no-sandbox --disable-gpu';
  const env = { ...process.env, CHROME_PATH: CHROMIUM };
  const out = execFileSync(process.env.LIGHTHOUSE ?? 'lighthouse', [
    address, ...options, flags, `--extra-headers=${JSON.stringify(headers)}`,
  ], { env, maxBuffer: 1 << 28, stdio: ['ignore', 'pipe', 'ignore'] });
  const { categories, audits, finalDisplayedUrl } = JSON.parse(out);
  return {
    at: finalDisplayedUrl,
    scores: Object.fromEntries(Object.values(categories).map(({ id, score }) => [id, Math.round(score * 100)])),
    lost: Object.values(audits)
      .filter(({ score, scoreDisplayMode }) => score !== null && score < 1 && !/^(metricSavings|informative)$/.test(scoreDisplayMode))
      .map(({ id }) => id),
  };
}

// Long enough for all pages: what Lighthouse asks for is no act of a person.
const console_ = await startConsole({ config: 'security:\n  session:\n    timeout: 4h\n' });
const chromium = await startChromium();
await furnish(console_);
const { page, context } = await chromium.person(console_.origin);
await signIn(page);
const entries = [...(await firstOfEach(page)), ...(await work(page))];
const cookies = (await context.cookies()).map(({ name, value }) => `${name}=${value}`).join('; ');
await chromium.stop();

console.log(isMobile ? 'As on a slow phone:' : 'As on a desk:');
let failed = 0;
for (const [paths, headers] of [[OPEN, {}], [[...OF_MEMBERS, ...OF_OWNERS, ...entries], { Cookie: cookies }]]) {
  for (const path of paths) {
    if (wanted.length && !wanted.some((beginning) => path.startsWith(beginning))) continue;
    const { at, scores, lost } = orOnceMore(() => lookAt(console_.origin + path, headers));
    const isAsked = new URL(at).pathname === path.split('?')[0];
    const isKept = isAsked && Object.entries(PROMISED).every(([category, least]) => scores[category] >= least);
    failed += isKept ? 0 : 1;
    const seen = Object.entries(scores).map(([category, score]) => `${category} ${score}`).join(', ');
    const verdict = isKept ? 'ok    ' : isAsked ? 'BELOW ' : 'OTHER ';
    console.log(`${verdict} ${path}${isAsked ? '' : ` led to ${at.replace(console_.origin, '')}`}: ${seen}${lost.length ? ` (${lost.join(', ')})` : ''}`);
  }
}
await console_.stop();
process.exit(failed ? 1 : 0);
