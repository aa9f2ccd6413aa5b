// The script of every page of the console: it sends what a form asks for with the page's token, and shows failures beside
// the field at fault. It holds no token of the API, and stores nothing in the browser.
"use strict";

(() => {
  // Scripts may come from this console's own files alone; its own pages may be put in place as they are.
  globalThis.trustedTypes?.createPolicy("default", { createHTML: (html) => html });

  const CSRF = "x-keeptrusts-csrf-token";
  // Whose page this is: once somebody else is signed in, the server neither changes nor shows anything by it.
  const HOLDER = "x-keeptrusts-holder";
  const holderOfPage = () => document.body.dataset.holder ?? "";
  const $ = (selector, root = document) => root.querySelector(selector);
  const MINUTE = 60_000;
  const words = () => $("#words").dataset;
  const main = () => $("#main");

  // ---- Tokens -----------------------------------------------------------------------------------------------------

  // Each is spent on one change, whose answer brings the next: where the organization lets a token work once, two changes
  // at the same time must not share one. Whoever finds none asks for one.
  let token = null;
  const keepToken = (next) => {
    if (next) token = next;
  };
  const spendToken = () => {
    const spent = token;
    token = null;
    return spent;
  };
  /** Asks the server about the session, which is nobody's act. Gives a token for a change. */
  const learn = async () => {
    const answer = await fetch("/api/session");
    if (!answer.ok) return null;
    const session = await answer.json();
    document.dispatchEvent(new CustomEvent("kt:session", { detail: { answer, session } }));
    return session.csrf_token;
  };
  const newToken = () => learn().catch(() => null);
  const renewToken = () => newToken().then(keepToken);

  const post = async (path, fields, signal, keepalive) => {
    const spent = spendToken() ?? (await newToken()) ?? "";
    const answer = await fetch(path, {
      method: "POST",
      body: new URLSearchParams(fields),
      headers: { [CSRF]: spent, [HOLDER]: holderOfPage(), "hx-request": "true", "hx-current-url": location.href },
      signal,
      keepalive,
    });
    keepToken(answer.headers.get(CSRF));
    return answer;
  };
  /** Sends a change. Where only its token was out of date, such as after a step-up in another tab, it is sent once more. */
  const send = async (path, fields, signal, keepalive = false) => {
    const answer = await post(path, fields, signal, keepalive);
    if (answer.status !== 403 || problemOf(await answer.clone().text()).code !== "csrf_failed") return answer;
    token = null;
    return post(path, fields, signal, keepalive);
  };

  document.addEventListener("htmx:configRequest", (event) => {
    const { elt, verb, headers, parameters } = event.detail;
    headers[HOLDER] = holderOfPage();
    if (verb !== "get") headers[CSRF] = spendToken() ?? "";
    for (const field of elt.querySelectorAll?.("[data-moment]") ?? []) {
      if (field.value) parameters[field.name] = new Date(field.value).toISOString();
    }
  });
  document.addEventListener("htmx:beforeOnLoad", (event) => {
    const { xhr, elt } = event.detail;
    keepToken(xhr.getResponseHeader(CSRF));
    const place = xhr.getResponseHeader("hx-redirect");
    if (place && !elt.matches("[data-download]")) ledAwayBy = elt;
    if (!/^\/login($|\?)/.test(place ?? "")) return;
    event.preventDefault();
    leaveFor(place);
  });
  // Whose answer leads to another page: until that one is there, this page asks for nothing more.
  let ledAwayBy = null;
  // Several answers tell of a session that is over. The first leads away: a second would break off what it has begun.
  let isLeaving = false;
  const leaveFor = (signIn) => {
    if (!isLeaving) location.assign(signIn);
    isLeaving = true;
  };
  addEventListener("pageshow", () => {
    isLeaving = false;
    ledAwayBy = null;
  });

  // ---- Texts that are not saved ------------------------------------------------------------------------------------

  const sourceField = () => $("#main textarea.source");
  const isUnsaved = (field) => Boolean(field) && (field.value !== field.defaultValue || "unsaved" in field.dataset);
  // A text that was only checked comes back as it was sent.
  let wasUnsaved = false;
  document.addEventListener("htmx:beforeSwap", (event) => {
    if (event.detail.target?.id === "main") wasUnsaved = isUnsaved(sourceField());
  });
  document.addEventListener("htmx:afterSwap", (event) => {
    const field = sourceField();
    if (event.detail.target?.id === "main" && wasUnsaved && field) field.dataset.unsaved = "";
  });
  addEventListener("beforeunload", (event) => {
    const field = sourceField();
    const isSaved = ledAwayBy && field?.form === ledAwayBy.closest("form");
    if (isLeaving || isSaved || !isUnsaved(field)) return;
    event.preventDefault();
    // Whoever stays goes on here.
    setTimeout(() => (ledAwayBy = null));
  });
  const takePageToken = () => {
    token = main()?.dataset.csrf || null;
  };
  document.addEventListener("htmx:afterSwap", (event) => {
    if (event.detail.target?.id === "main") takePageToken();
  });

  // ---- Failures ---------------------------------------------------------------------------------------------------

  const forget = (form) => {
    for (const old of form.querySelectorAll(".field-error, .form-error")) old.remove();
    for (const field of form.querySelectorAll("[aria-invalid]")) {
      field.removeAttribute("aria-invalid");
      field.setAttribute("aria-describedby", (field.getAttribute("aria-describedby") ?? "").replace(/\s*\S+-error$/, ""));
    }
  };

  // A message with what stands between backticks as code. All of it is text.
  const say = (place, message) => {
    const parts = message.split(/`([^`]*)`/).map((part, at) => {
      if (at % 2 === 0) return part;
      const code = document.createElement("code");
      code.textContent = part;
      return code;
    });
    place.replaceChildren(...parts);
  };

  const tell = (form, problem) => {
    forget(form);
    const { message, param, violations } = problem;
    const field = param && form.elements.namedItem(param.split(".").pop().replace(/\[\d+\]$/, ""));
    if (field instanceof HTMLElement && field.type !== "hidden") {
      const note = document.createElement("p");
      note.className = "field-error";
      note.id = `${field.id || param}-error`;
      say(note, violations?.length ? violations.map((violation) => violation.message).join(" · ") : message);
      (field.closest(".field") ?? field.parentElement).append(note);
      field.setAttribute("aria-invalid", "true");
      field.setAttribute("aria-describedby", `${field.getAttribute("aria-describedby") ?? ""} ${note.id}`.trim());
      field.focus();
      return;
    }
    const note = document.createElement("div");
    note.className = "form-error";
    note.setAttribute("role", "alert");
    say(note, message);
    form.prepend(note);
  };

  const problemOf = (text) => {
    try {
      return JSON.parse(text).error ?? { message: words().unreachable };
    } catch {
      return { message: words().unreachable };
    }
  };

  const present = (source, problem) => {
    const form = source.closest?.("form");
    if (form) tell(form, problem);
    else toast(problem.message, true);
  };

  // A part of a page that asks for news of itself, while somebody can see it.
  const isFollowing = (elt) => elt.hasAttribute?.("data-live");

  // What was asked for when a fresh proof was missing, to be asked for again.
  let waiting = null;
  const prove = (then, byOwnFactor = false) => {
    waiting = then;
    // The word of an identity provider is not what is missing then.
    const provider = $("#prove-provider");
    if (provider) provider.hidden = byOwnFactor;
    for (const form of document.querySelectorAll("#prove form")) {
      form.reset();
      forget(form);
    }
    $("#prove").showModal();
  };
  /** Asks for the proof for want of which something was refused; false where it was refused for something else. */
  const proveFor = (problem, then) => {
    const byOwnFactor = problem.code === "own_proof_required" && Boolean($("#prove [data-own]"));
    if (!byOwnFactor && !(problem.code === "reauthentication_required" && $("#prove"))) return false;
    prove(then, byOwnFactor);
    return true;
  };
  // Whether a change is being sent once more, with a new token.
  let isRepeated = false;
  document.addEventListener("htmx:responseError", (event) => {
    const { xhr, elt, target, requestConfig } = event.detail;
    if (xhr.getResponseHeader("hx-redirect") || isFollowing(elt)) return;
    const problem = problemOf(xhr.responseText);
    const { verb, path, parameters: values } = requestConfig;
    const repeat = () => ask(verb, path, elt, values, target);
    if (proveFor(problem, repeat)) return;
    isRepeated = problem.code === "csrf_failed" && !isRepeated;
    if (isRepeated) {
      token = null;
      repeat();
      return;
    }
    const asks = new CustomEvent("kt:problem", { detail: { problem, elt, requestConfig }, bubbles: true, cancelable: true });
    if (elt.dispatchEvent(asks)) present(elt, problem);
  });
  document.addEventListener("htmx:sendError", (event) => {
    if (!isFollowing(event.detail.elt)) present(event.detail.elt, { message: words().unreachable });
  });
  document.addEventListener("htmx:beforeRequest", (event) => {
    if (document.hidden && isFollowing(event.detail.elt)) event.preventDefault();
    const form = event.detail.elt.closest?.("form");
    if (form) forget(form);
  });

  // ---- A fresh proof of who somebody is, and then what they wanted -----------------------------------------------

  // What is asked for again has been confirmed before.
  let isConfirmed = false;
  const ask = (verb, path, source, values, place) => {
    const target = place?.isConnected ? place : main();
    isConfirmed = true;
    const answer = htmx.ajax(verb, path, {
      source: source.isConnected ? source : document.body,
      target,
      select: `#${target.id}`,
      swap: "outerHTML show:none",
      values,
    });
    isConfirmed = false;
    return answer;
  };
  const goOn = () => {
    $("#prove").close();
    const then = waiting;
    waiting = null;
    then?.();
  };
  document.addEventListener("submit", async (event) => {
    const form = event.target;
    if (!form.matches("[data-prove]")) return;
    event.preventDefault();
    const answer = await send("/api/session/reauthenticate", new FormData(form));
    if (answer.ok) goOn();
    else tell(form, problemOf(await answer.text()));
  });

  // ---- Said once, and asked first ----------------------------------------------------------------------------------

  function toast(text, isBad = false) {
    const note = document.createElement("div");
    note.className = isBad ? "toast bad" : "toast";
    say(note, text);
    $("#toasts").append(note);
    lift();
    setTimeout(() => note.remove(), isBad ? 12000 : 6000);
  }

  // While a dialog is open, what lies outside it is neither seen nor reached: what is said then is said inside.
  const lifted = [];
  const lift = (place = [...document.querySelectorAll("dialog:modal")].at(-1) ?? document.body) => {
    for (const part of lifted) if (part.parentElement !== place) place.append(part);
  };
  document.addEventListener("close", () => lift(), true);
  document.addEventListener("htmx:beforeSwap", (event) => {
    if (lifted.some((part) => event.detail.target?.contains(part))) lift(document.body);
  });

  document.addEventListener("htmx:afterRequest", (event) => {
    if (event.detail.xhr.status >= 300) return;
    isRepeated = false;
    event.detail.elt.closest?.("dialog")?.close();
  });

  // The change that each part of the page has asked for and not heard of yet.
  const changes = new WeakMap();
  document.addEventListener("htmx:beforeSend", (event) => {
    const { elt, xhr, requestConfig } = event.detail;
    if (requestConfig.verb !== "get") changes.set(elt, xhr);
  });
  document.addEventListener("htmx:afterRequest", (event) => {
    const { elt, xhr } = event.detail;
    if (changes.get(elt) === xhr) changes.delete(elt);
  });
  // A second click of the same kind asks for nothing: the first is under way, or has led to another page.
  const isTooMuch = (elt, verb) => Boolean(ledAwayBy) || (verb !== "get" && changes.has(elt));

  // What a request waits for: the yes of whoever makes it, and for a change a token.
  document.addEventListener("htmx:confirm", (event) => {
    const { question, verb, elt, triggeringEvent, issueRequest } = event.detail;
    const isRepeat = isConfirmed;
    if (!isRepeat && isTooMuch(elt, verb)) {
      event.preventDefault();
      return;
    }
    if (!question && (verb === "get" || token)) return;
    event.preventDefault();
    const issue = async () => {
      if (verb !== "get") token ??= await newToken();
      if (isRepeat || !isTooMuch(elt, verb)) issueRequest(true);
    };
    if (!question || isConfirmed) {
      issue();
      return;
    }
    const dialog = $("#confirm");
    $("#confirm-text").textContent = question;
    const button = triggeringEvent?.submitter ?? (elt.matches("button, a") ? elt : null);
    $("#confirm-yes").textContent = button?.textContent.trim() || words().goOn;
    dialog.returnValue = "no";
    dialog.onclose = () => dialog.returnValue === "yes" && issue();
    dialog.showModal();
  });

  // ---- Parts of pages ----------------------------------------------------------------------------------------------

  const local = (root) => {
    const styled = (timeStyle) => new Intl.DateTimeFormat(document.documentElement.lang, { dateStyle: "medium", timeStyle });
    const [toMinutes, toSeconds] = [styled("short"), styled("medium")];
    for (const time of root.querySelectorAll("time[datetime]:not([title])")) {
      const moment = new Date(time.dateTime);
      if (Number.isNaN(moment.getTime())) continue;
      time.title = time.dateTime.replace("T", " ").replace("Z", " UTC");
      time.textContent = (time.hasAttribute("data-seconds") ? toSeconds : toMinutes).format(moment);
    }
    // A field for a moment shows local time; `data-moment` holds it as the API has it.
    for (const field of root.querySelectorAll("[data-moment]:not([data-moment=''])")) {
      const moment = new Date(field.dataset.moment);
      if (Number.isNaN(moment.getTime())) continue;
      field.value = new Date(moment - moment.getTimezoneOffset() * MINUTE).toISOString().slice(0, 19);
    }
  };

  // On a narrow screen the row of tabs scrolls: the present one is brought to its middle.
  const showTab = () => {
    const tab = $(".tabs [aria-current]");
    if (!tab) return;
    const [{ left, width }, row] = [tab.getBoundingClientRect(), tab.parentElement.getBoundingClientRect()];
    tab.parentElement.scrollLeft += left + width / 2 - (row.left + row.width / 2);
  };

  // What an address leads to may stand in a part that is closed.
  const showPlace = () => {
    const place = document.getElementById(location.hash.slice(1));
    const closed = place?.closest?.("details:not([open])");
    if (!closed) return;
    closed.open = true;
    place.scrollIntoView();
  };

  const ready = (root) => {
    local(root);
    showTab();
    const said = main()?.dataset.say;
    if (said) {
      toast(said);
      delete main().dataset.say;
    }
    const dialog = root.querySelector?.("dialog[data-open]");
    if (dialog && !dialog.open) dialog.showModal();
    lift();
  };
  document.addEventListener("htmx:load", (event) => ready(event.detail.elt.parentElement ?? document));

  document.addEventListener("click", (event) => {
    const at = (selector) => event.target.closest?.(selector);
    const opener = at("[data-dialog]");
    if (opener) {
      const dialog = document.getElementById(opener.dataset.dialog);
      for (const form of dialog.querySelectorAll("form")) forget(form);
      dialog.showModal();
    }
    if (at("[data-close]")) at("dialog").close();
    if (at("[data-print]")) globalThis.print();
    const menu = at("[data-menu]");
    if (menu || (!at(".sidebar") && $(".sidebar.open"))) {
      showMenu(Boolean(menu));
    }
    for (const popup of document.querySelectorAll("details.popup[open]")) {
      if (!popup.contains(event.target)) popup.open = false;
    }
  });

  const showMenu = (isOpen) => {
    $(".sidebar")?.classList.toggle("open", isOpen);
    $("[data-menu]")?.setAttribute("aria-expanded", String(isOpen));
    if (isOpen) $(".sidebar a").focus();
  };
  // It covers the page: where the keyboard goes on from it, it closes.
  document.addEventListener("focusin", ({ target }) => {
    if ($(".sidebar.open") && !target.closest(".sidebar")) showMenu(false);
  });

  // What the other scripts of this console need.
  globalThis.keeptrusts = { send, renewToken, ask, tell, toast, lift, prove, proveFor, goOn, leaveFor, problemOf, words, showMenu };

  // ---- Beginning ---------------------------------------------------------------------------------------------------

  document.addEventListener("DOMContentLoaded", () => {
    lifted.push(...document.querySelectorAll("#ending, #toasts"));
    takePageToken();
    ready(document);
    showPlace();
    addEventListener("hashchange", showPlace);
    // A token in the address would stay in the history.
    if ($("[data-hide-token]")) history.replaceState(null, "", location.pathname);
  });
})();
