// What axe finds on a page as it stands.

import { AxeBuilder } from '@axe-core/playwright';

const TAGS = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'];

/** The rules that judge colours. Nothing else of a page is another in another theme. */
const COLOURS = ['color-contrast', 'link-in-text-block'];

/** The faults of a page, in light and dark, each beginning with `what`. Whatever is open stays open. */
export async function faultsOf(page, what) {
  const found = [];
  for (const colorScheme of ['light', 'dark']) {
    await page.emulateMedia({ colorScheme, reducedMotion: 'reduce' });
    // The link that skips the navigation lies over the page only while it has the keyboard.
    await page.evaluate(() => document.activeElement?.matches('.skip') && document.activeElement.blur());
    const axe = new AxeBuilder({ page });
    const { violations } = await (colorScheme === 'light' ? axe.withTags(TAGS) : axe.withRules(COLOURS)).analyze();
    for (const { id, nodes } of violations) {
      found.push(`${what}, ${colorScheme}: ${id}: ${nodes.map((node) => node.target).join(' ')}`);
    }
  }
  return found;
}

/** The same, and whether the page is wider than its window, on a phone and on a desk. */
export async function faultsAtAnyWidth(page, what) {
  const found = [];
  for (const width of [360, 1280]) {
    await page.setViewportSize({ width, height: 900 });
    found.push(...(await faultsOf(page, `${what}, ${width} wide`)));
    const over = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
    if (over > 0) found.push(`${what}, ${width} wide: ${over} too wide`);
  }
  return found;
}
