// A talk with a model on the chat page.

/** Sends a question; to the model that is chosen, unless another one is named. */
export async function ask(page, question, model = null) {
  if (model) await page.getByLabel('Model').selectOption(model);
  await page.getByLabel('Your question').fill(question);
  await page.getByRole('button', { name: 'Send' }).click();
}

/** The turn with the answer to so manieth question, once the server shows it. */
export async function answerIn(page, place) {
  const turn = page.locator('#thread .turn').nth(place - 1);
  await turn.locator('.prose').waitFor();
  return turn;
}

/**
 * Asks the talker for an answer at length, and breaks it off behind 200,000 characters. What that took of the page: how many
 * `parts` came, how long the main thread was busy in `milliseconds`, the `longest` block that is laid out at once in
 * characters, and how much was `removed` of what had been shown.
 */
export async function readAtLength(page) {
  const cdp = await page.context().newCDPSession(page);
  await cdp.send('Performance.enable');
  const work = async () => {
    const { metrics } = await cdp.send('Performance.getMetrics');
    return metrics.find(({ name }) => name === 'TaskDuration').value * 1000;
  };
  const before = await work();
  await ask(page, 'Go on at length', 'talker-1');
  // The length of the nodes alone: to ask for what is shown would be a layout of its own.
  const shown = await page.waitForFunction(
    () => {
      const plain = document.querySelector('#thread .turn:last-child .plain');
      if (!plain) return null;
      globalThis.removed ??= watch(plain);
      const blocks = Array.from(plain.children, (block) => block.firstChild.length);
      return blocks.reduce((all, one) => all + one, 0) > 200_000 && { longest: Math.max(...blocks), removed: globalThis.removed() };

      function watch(plain) {
        let removed = 0;
        const count = (records) => records.forEach((record) => (removed += record.removedNodes.length));
        const observer = new MutationObserver(count);
        observer.observe(plain, { childList: true, subtree: true });
        return () => {
          count(observer.takeRecords());
          observer.disconnect();
          return removed;
        };
      }
    },
    null,
    { polling: 250 },
  );
  const milliseconds = (await work()) - before;
  const parts = await page.evaluate(() => performance.getEntriesByName('kt:part').length);
  await page.getByRole('button', { name: 'Stop' }).click();
  await page.locator('#thread .turn:last-child').getByText('Stopped. What had come is kept.').waitFor();
  return { parts, milliseconds, ...(await shown.jsonValue()) };
}
