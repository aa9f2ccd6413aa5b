// The script of the chat page: it sends a question, shows the answer as it comes, as text and nothing else, and then has
// the server show it.
"use strict";

(() => {
  const { send, tell, toast, leaveFor, problemOf, words } = globalThis.keeptrusts;
  const $ = (selector, root = document) => root.querySelector(selector);

  // What breaks the answer off that is on its way, if one is.
  let stopping = null;

  const element = (name, className, text = "") => {
    const made = document.createElement(name);
    made.className = className;
    made.textContent = text;
    return made;
  };

  const show = (isAsking) => {
    $("[data-stop]")?.toggleAttribute("hidden", !isAsking);
    $("[data-ask]")?.toggleAttribute("hidden", isAsking);
    for (const again of document.querySelectorAll("[data-again]")) again.disabled = isAsking;
  };

  // A page that is at its end stays there while it grows; at most once a frame, so that no part waits for a layout.
  let isScrolling = false;
  const follow = () => {
    if (isScrolling) return;
    isScrolling = true;
    requestAnimationFrame(() => {
      isScrolling = false;
      const root = document.documentElement;
      if (root.scrollHeight - root.scrollTop - root.clientHeight < 200) root.scrollTop = root.scrollHeight;
    });
  };

  // The browser lays out a part together with all of its block, so a long answer stands in many: a new one begins at the end
  // of a line, or between two words where no line ends. Until the server shows the whole, that is where a line is broken.
  const BLOCK = 4_000;
  const newBlock = (plain, beginning) => {
    const block = document.createElement("div");
    block.append(document.createTextNode(beginning));
    plain.append(block);
  };
  const append = (plain, part) => {
    const text = plain.lastElementChild.firstChild;
    const end = text.length < BLOCK ? -1 : part.indexOf(text.length < 2 * BLOCK ? "\n" : " ");
    if (end < 0) {
      text.appendData(part);
      return;
    }
    text.appendData(part.slice(0, end));
    newBlock(plain, part.slice(end + 1));
  };

  const read = async (answer, plain) => {
    const parts = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    // What the parts of the answers before took would pile up as long as the page is open.
    performance.clearMeasures("kt:part");
    for (;;) {
      const { done, value } = await parts.read();
      if (done) return;
      const began = performance.now();
      append(plain, value);
      follow();
      performance.measure("kt:part", { start: began });
    }
  };

  const ask = async (form, path, fields, question) => {
    if (stopping) return;
    stopping = new AbortController();
    show(true);
    const turn = element("article", "turn");
    if (question) turn.append(element("div", "question", question));
    const said = element("div", "answer");
    const plain = element("div", "plain");
    plain.setAttribute("aria-live", "polite");
    plain.setAttribute("aria-busy", "true");
    newBlock(plain, "");
    said.append(plain);
    turn.append(said);
    // The answer before, which comes back where no other one does.
    const former = question ? null : $("#thread .turn:last-child .answer");
    former?.toggleAttribute("hidden", true);
    $("#thread").append(turn);
    turn.scrollIntoView({ block: "nearest" });
    const takeBack = () => {
      turn.remove();
      former?.toggleAttribute("hidden", false);
      if (question && !form.elements.question.value) form.elements.question.value = question;
    };
    let place = null;
    try {
      const answer = await send(path, fields, stopping.signal);
      const signIn = answer.headers.get("hx-redirect");
      if (signIn) {
        leaveFor(signIn);
        return;
      }
      if (!answer.ok) {
        takeBack();
        tell(form, problemOf(await answer.text()));
        return;
      }
      place = answer.headers.get("content-location");
      await read(answer, plain);
    } catch (error) {
      if (error.name !== "AbortError") {
        toast(words().unreachable, true);
        if (!place) takeBack();
      }
      // The server learns of it when the connection has ended.
      await new Promise((resolve) => setTimeout(resolve, 300));
    } finally {
      stopping = null;
      show(false);
    }
    if (place) await settle(place);
  };

  // The page as the server has it now; what was typed meanwhile stays.
  const settle = async (place) => {
    const typed = $("#question")?.value ?? "";
    const isTyping = document.activeElement?.id === "question" || document.activeElement === document.body;
    if (location.pathname !== place) history.replaceState(null, "", place);
    await htmx.ajax("get", place, { source: document.body, target: "#main", select: "#main", swap: "outerHTML show:none" });
    const field = $("#question");
    if (!field) return;
    field.value = typed;
    if (isTyping) field.focus({ preventScroll: true });
    follow();
  };

  // A conversation is read on from its end.
  document.addEventListener("DOMContentLoaded", () => $("#thread .turn:last-child")?.scrollIntoView({ block: "end" }));

  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (!form.matches("[data-chat]")) return;
    event.preventDefault();
    const { question, model } = form.elements;
    const asked = question.value.trim();
    if (!asked || stopping) return;
    for (const note of form.querySelectorAll(".form-error, .field-error")) note.remove();
    question.value = "";
    ask(form, form.getAttribute("action"), { question: asked, model: model.value }, asked);
  });

  document.addEventListener("click", (event) => {
    if (event.target.closest?.("[data-stop]")) stopping?.abort();
    const again = event.target.closest?.("[data-again]");
    const form = $("[data-chat]");
    if (again && form) ask(form, again.dataset.again, { model: form.elements.model.value }, null);
  });

  document.addEventListener("keydown", (event) => {
    if (event.target.id !== "question" || event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    event.target.form.requestSubmit();
  });
})();
