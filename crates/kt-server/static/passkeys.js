// Passkeys: the page asks for a challenge, the browser answers it, and the answer is sent like any form.
"use strict";

(() => {
  const { send, ask, tell, proveFor, goOn, problemOf, words } = globalThis.keeptrusts;
  const isAble = Boolean(globalThis.PublicKeyCredential?.parseRequestOptionsFromJSON);
  // Before the challenge of an offer is too old: it is good for five minutes, and a page of sign-in stays open for days.
  const RENEWED_AFTER = 4 * 60 * 1000;
  // After one that came to nothing: what was said of it is read first.
  const OFFERED_AGAIN_AFTER = 3 * 1000;
  let offered = null;
  let renewal = 0;
  let shown = null;

  /** The challenge for a form, as the browser takes it; a refusal is told at the form. */
  const challengeFor = async (form, again) => {
    const answer = await send(form.dataset.options, {});
    if (answer.ok) return answer.json();
    const problem = problemOf(await answer.text());
    if (!again || !proveFor(problem, again)) tell(form, problem);
    return null;
  };

  const answerTo = async (form, { options, flow_token }, mediation, signal) => {
    const isNew = form.dataset.passkey === "create";
    const parse = isNew ? "parseCreationOptionsFromJSON" : "parseRequestOptionsFromJSON";
    const publicKey = PublicKeyCredential[parse](options.publicKey ?? options);
    const credential = isNew
      ? await navigator.credentials.create({ publicKey, signal })
      : await navigator.credentials.get({ publicKey, mediation, signal });
    shown = { rpId: publicKey.rpId, credentialId: credential.id };
    return { flow_token, credential: JSON.stringify(credential.toJSON()) };
  };

  /** What is said in a field of another form and holds for this one too. */
  const besides = ({ dataset: { besides: name } }) => {
    const field = name && document.getElementById(name);
    return field ? { [name]: field.value } : {};
  };

  const hand = async (form, shown) => {
    const values = { ...Object.fromEntries(new FormData(form)), ...besides(form), ...shown };
    if (form.dataset.passkey !== "prove") {
      ask("post", form.dataset.answer, form, values);
      return;
    }
    const answer = await send(form.dataset.answer, values);
    if (answer.ok) goOn();
    else tell(form, problemOf(await answer.text()));
  };

  /** Why the browser gave no passkey. That is its secret, which it tells nobody (WebAuthn level 3 section 14.5), but for one
   * reason: the device has one of this account already, and whoever holds it has agreed to say so (section 5.1.3). */
  const failureOf = (form, { name }) =>
    form.dataset.passkey === "create" && name === "InvalidStateError"
      ? words().passkeyKnown
      : `${words().passkeyFailed} (${name})`;

  const use = async (form) => {
    if (!isAble) {
      tell(form, { message: words().noPasskeys });
      return;
    }
    withdraw();
    const challenge = await challengeFor(form, () => use(form));
    if (!challenge) return;
    try {
      await hand(form, await answerTo(form, challenge));
    } catch (error) {
      tell(form, { message: failureOf(form, error) });
      offerIn(OFFERED_AGAIN_AFTER);
    }
  };

  const withdraw = () => {
    clearTimeout(renewal);
    offered?.abort();
    offered = null;
  };

  /** Offers passkeys among the suggestions of the address field, where the browser can. */
  const offer = async (form) => {
    withdraw();
    offered = new AbortController();
    const { signal } = offered;
    if (!isAble || !(await PublicKeyCredential.isConditionalMediationAvailable?.())) return;
    offerIn(RENEWED_AFTER);
    const challenge = await challengeFor(form);
    if (!challenge || signal.aborted) return;
    try {
      const answer = await answerTo(form, challenge, "conditional", signal);
      withdraw();
      await hand(form, answer);
    } catch {
      // Nobody took the offer: the button is still there.
    }
  };

  /** Makes the offer where there is a place for it, once somebody looks at the page. */
  const offerHere = () => {
    const autofill = document.querySelector("form[data-autofill]");
    if (autofill && document.hidden) document.addEventListener("visibilitychange", offerHere, { once: true });
    else if (autofill) offer(autofill);
  };

  const offerIn = (time) => {
    clearTimeout(renewal);
    renewal = setTimeout(offerHere, time);
  };

  /** Tells the browser's password manager which passkeys are still good, and what it is to call their holder (WebAuthn
   * level 3 section 5.1.10). */
  const signal = async (list) => {
    const { signal: rpId, user: userId, accepted, account, name: displayName } = list.dataset;
    const allAcceptedCredentialIds = accepted.split(" ").filter(Boolean);
    await PublicKeyCredential.signalAllAcceptedCredentials?.({ rpId, userId, allAcceptedCredentialIds });
    await PublicKeyCredential.signalCurrentUserDetails?.({ rpId, userId, name: account, displayName });
  };

  /** Tells it that the passkey which was just shown is known to nobody here (section 5.1.10.2). */
  document.addEventListener("kt:problem", ({ detail: { problem } }) => {
    if (problem.unknown_credential && shown) PublicKeyCredential.signalUnknownCredential?.(shown);
    // What was answered is used up.
    if (!offered) offerIn(OFFERED_AGAIN_AFTER);
  });

  document.addEventListener("submit", (event) => {
    if (!event.target.matches("[data-passkey]")) return;
    event.preventDefault();
    use(event.target);
  });

  const look = () => {
    if (!offered) offerHere();
    for (const note of document.querySelectorAll("[data-without-passkeys]")) note.hidden = isAble;
    const list = document.querySelector("[data-signal]");
    if (list && isAble) signal(list);
  };
  document.addEventListener("DOMContentLoaded", look);
  document.addEventListener("htmx:afterSwap", look);
})();
