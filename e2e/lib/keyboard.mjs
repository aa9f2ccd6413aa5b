// What somebody does who has no pointer.

import assert from 'node:assert/strict';

/** Goes on by Tab until the element has the keyboard. */
export const reach = async (page, element) => {
  const hasIt = () => element.evaluate((wanted) => wanted === document.activeElement);
  for (let steps = 0; steps < 300; steps += 1) {
    if (await hasIt()) return;
    await page.keyboard.press('Tab');
  }
  assert.fail(`${await element.evaluate((wanted) => wanted.outerHTML)} is not reached`);
};

/** Goes to the element and presses a key there. */
export const press = async (page, element, key = 'Enter') => {
  await element.waitFor();
  await reach(page, element);
  await page.keyboard.press(key);
};

/** Goes to the field and types this in place of what it holds. */
export const type = async (page, element, text) => {
  await element.waitFor();
  await reach(page, element);
  await page.keyboard.press('Control+a');
  await page.keyboard.type(text);
};

/** Goes to the list and types the beginning of a choice. */
export const choose = async (page, element, label) => {
  await element.waitFor();
  await reach(page, element);
  await page.keyboard.type(label);
};

export const button = (place, name) => place.getByRole('button', { name, exact: true }).first();
