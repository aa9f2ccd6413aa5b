// Where the things under test are.

import { existsSync, statSync } from 'node:fs';
import { homedir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const E2E = dirname(dirname(fileURLToPath(import.meta.url)));

const cache = process.env.KEEPTRUSTS_CACHE ?? join(homedir(), '.cache', 'keeptrusts');
export const MODEL_FILE = join(cache, 'e2e', 'model', 'SmolLM2-135M-Instruct.Q4_1.gguf');

export const CHROMIUM = process.env.CHROMIUM ?? '/usr/bin/chromium';

/** The `kt` to test: `$KT`, else the one built last. */
export function ktBinary() {
  if (process.env.KT) return process.env.KT;
  const target = process.env.CARGO_TARGET_DIR ?? join(dirname(E2E), 'target');
  const built = ['release', 'debug'].map((profile) => join(target, profile, 'kt')).filter((path) => existsSync(path));
  if (built.length === 0) throw new Error(`no kt in ${target}: run \`cargo build -p kt\`, or name one in KT`);
  return built.sort((a, b) => statSync(b).mtimeMs - statSync(a).mtimeMs)[0];
}
