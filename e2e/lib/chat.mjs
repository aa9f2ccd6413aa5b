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
