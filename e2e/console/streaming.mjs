// Measures how long a streamed answer keeps the main thread of the chat page busy, layout and paint included.
//
//     KT=target/release/kt node e2e/console/streaming.mjs

import { readAtLength } from '../lib/chat.mjs';
import { signIn, startChromium, startConsole } from '../lib/console.mjs';
import { startTalker } from '../lib/talker.mjs';

const RUNS = 5;

const provider = await startTalker();
const policyConfig = `
pack: { name: streaming, version: 1.0.0, enabled: true }
providers: { targets: [{ id: local, provider: "openai:chat:talker-1", base_url: "${provider.url}" }] }
`;
const console_ = await startConsole({ policyConfig });
const chromium = await startChromium();
const { page } = await chromium.person(console_.origin);
await signIn(page);
for (let run = 1; run <= RUNS; run += 1) {
  await page.goto('/chat');
  const { parts, milliseconds } = await readAtLength(page);
  console.log(`run ${run}: ${parts} parts of 200,000 characters, ${milliseconds.toFixed(0)} ms, ${(milliseconds / parts).toFixed(2)} ms each`);
}
await chromium.stop();
await console_.stop();
provider.stop();
