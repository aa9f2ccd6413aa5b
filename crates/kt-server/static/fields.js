// What fields and the buttons beside them do by themselves: show and judge a password, suggest an identifier, copy and save
// what is shown once.
"use strict";

(() => {
  const { send, toast, words } = globalThis.keeptrusts;
  const $ = (selector) => document.querySelector(selector);

  document.addEventListener("click", async (event) => {
    const at = (selector) => event.target.closest?.(selector);
    const reveal = at("[data-reveal]");
    if (reveal) {
      const field = document.getElementById(reveal.dataset.reveal);
      const isHidden = field.type === "password";
      field.type = isHidden ? "text" : "password";
      reveal.textContent = isHidden ? words().hide : words().show;
    }
    const copier = at("[data-copy]");
    if (copier) {
      // Without https there is no clipboard to write to.
      const copy = async () => navigator.clipboard.writeText($(copier.dataset.copy).textContent.trim());
      await copy().then(() => toast(words().copied), () => toast(words().notCopied, true));
    }
    const saver = at("[data-save]");
    if (saver) {
      const link = document.createElement("a");
      link.href = URL.createObjectURL(new Blob([$(saver.dataset.source).textContent], { type: "text/plain" }));
      link.download = saver.dataset.save;
      link.click();
      URL.revokeObjectURL(link.href);
    }
  });

  document.addEventListener("input", (event) => {
    const field = event.target;
    if (field.dataset?.identifierFor) suggestIdentifier(field);
    if (field.closest?.("[data-strength]")) judgeSoon(field);
  });

  const suggestIdentifier = (field) => {
    const target = document.getElementById(field.dataset.identifierFor);
    if (target.dataset.touched) return;
    const plain = field.value.normalize("NFKD").toLowerCase().replace(/[^a-z0-9]+/g, "-");
    target.value = plain.replace(/^-+|-+$/g, "").slice(0, 40);
    target.addEventListener("input", () => (target.dataset.touched = "yes"), { once: true });
  };

  // ---- How strong a password is, while it is typed -----------------------------------------------------------------

  let judging = null;
  const judgeSoon = (field) => {
    clearTimeout(judging);
    judging = setTimeout(() => judge(field), 250);
  };
  const judge = async (field) => {
    const password = field.value;
    const value = (name) => field.form.elements.namedItem(name)?.value ?? "";
    const told = ["name", "email", "organization", "token"].map((name) => [name, value(name)]);
    const fields = { password, ...Object.fromEntries(told) };
    const verdict = await send("/api/password-strength", fields).then((answer) => (answer.ok ? answer.json() : null), () => null);
    // Answers may come in another order than they were asked for: each counts for the text that it is about.
    if (field.value === password) showVerdict(field.closest("[data-strength]"), password ? verdict : null);
  };
  /** Without a verdict nothing is said: the one before was about another text. */
  const showVerdict = (part, verdict) => {
    const named = verdict && words().strength.split("|")[verdict.score];
    const meter = part.querySelector("meter");
    meter.value = verdict ? Math.max(verdict.score, 0.3) : 0;
    meter.setAttribute("aria-valuetext", named ?? "");
    part.querySelector(".help").textContent = verdict ? [named, ...verdict.violations].join(" · ") : "";
  };
})();
