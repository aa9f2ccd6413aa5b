// What somebody does by keyboard on every page: it keeps its place when a part of the page is put in another's place, goes to
// pages by their names, and closes what is open.
"use strict";

(() => {
  const { showMenu } = globalThis.keeptrusts;
  const $ = (selector, root = document) => root.querySelector(selector);
  const main = () => $("#main");

  // ---- Keeping its place -------------------------------------------------------------------------------------------

  const TOLD_BY = ["hx-post", "hx-get", "href", "data-dialog", "name", "value"];
  /** By what a control is known on the page that is put in place of this one. */
  const markOf = (control) => {
    const told = TOLD_BY.map((name) => control.getAttribute(name));
    return [control.tagName, control.form?.getAttribute("hx-post"), ...told, control.textContent.trim()].join("\n");
  };
  const sameAs = (mark) => {
    const controls = main().querySelectorAll("a[href], button, input, select, textarea, summary");
    return [...controls].find((control) => !control.disabled && control.checkVisibility() && markOf(control) === mark);
  };

  // The control that had the keyboard before `main` was put in place, or what had opened the dialog that it is in: its mark,
  // and the heading of what it is in.
  let held = null;
  document.addEventListener("htmx:beforeSwap", (event) => {
    held = null;
    const at = document.activeElement;
    if (event.detail.target?.id !== "main" || !main().contains(at) || at === main()) return;
    const dialog = at.closest("dialog");
    const control = dialog ? $(`[data-dialog="${dialog.id}"]`) : at;
    if (control) held = { mark: markOf(control), heading: control.closest("[aria-labelledby]")?.getAttribute("aria-labelledby") };
  });
  // The script of htmx gives the keyboard back to what has an identifier, and to nothing else.
  document.addEventListener("htmx:afterSwap", (event) => {
    if (!held || event.detail.target?.id !== "main" || document.activeElement !== document.body) return;
    const place = sameAs(held.mark) ?? document.getElementById(held.heading) ?? main();
    held = null;
    if (place.matches("h1, h2, h3, h4")) place.tabIndex = -1;
    place.focus({ preventScroll: true });
  });

  // ---- Going to a page by its name ---------------------------------------------------------------------------------

  const openPalette = () => {
    const palette = $("#palette");
    if (!palette || palette.open) return;
    palette.showModal();
    const field = $("input", palette);
    field.value = "";
    choose(field, 0);
  };
  const choose = (field, step) => {
    const options = [...$("#palette-list").children];
    const typed = field.value.toLowerCase();
    for (const option of options) option.hidden = !option.textContent.toLowerCase().includes(typed);
    const shown = options.filter((option) => !option.hidden);
    const at = shown.findIndex((option) => option.getAttribute("aria-selected") === "true");
    const next = shown[Math.min(Math.max(step === 0 ? 0 : at + step, 0), shown.length - 1)];
    for (const [place, option] of options.entries()) {
      option.id = `page-${place}`;
      option.setAttribute("aria-selected", String(option === next));
    }
    // The keyboard stays in the field: this is how a screen reader learns which page is chosen (ARIA 1.2, combobox).
    if (next) field.setAttribute("aria-activedescendant", next.id);
    else field.removeAttribute("aria-activedescendant");
    field.setAttribute("aria-expanded", String(Boolean(next)));
    next?.scrollIntoView({ block: "nearest" });
    const none = $("#palette-none");
    none.textContent = next ? "" : none.dataset.none;
  };
  const goTo = (option) => {
    if (option) location.assign(option.dataset.href);
  };

  // What is closed gives the keyboard back to what had opened it.
  const closeAll = () => {
    const at = document.activeElement;
    for (const popup of document.querySelectorAll("details.popup[open]")) {
      popup.open = false;
      if (popup.contains(at)) $("summary", popup).focus();
    }
    const menu = $(".sidebar.open");
    if (!menu) return;
    showMenu(false);
    if (menu.contains(at)) $("[data-menu]").focus();
  };

  document.addEventListener("keydown", (event) => {
    // Some browsers send an event without a key when they fill in a field.
    if (event.key?.toLowerCase() === "k" && (event.ctrlKey || event.metaKey) && $("#palette")) {
      event.preventDefault();
      openPalette();
    }
    if (event.key === "Escape") closeAll();
    const field = event.target.closest?.("#palette input");
    if (!field) return;
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step) {
      event.preventDefault();
      choose(field, step);
    } else if (event.key === "Enter") {
      event.preventDefault();
      goTo($("#palette-list [aria-selected=true]"));
    }
  });
  document.addEventListener("input", (event) => {
    if (event.target.closest?.("#palette input")) choose(event.target, 0);
  });

  document.addEventListener("click", (event) => {
    if (event.target.closest?.("[data-palette]")) openPalette();
    goTo(event.target.closest?.("#palette-list [role=option]"));
  });

  document.addEventListener("DOMContentLoaded", () => {
    if (navigator.platform.startsWith("Mac")) for (const key of document.querySelectorAll(".search kbd")) key.textContent = "⌘ K";
  });
})();
