// How long the session lasts: the server is told that its holder is there, and they are warned before it ends.
"use strict";

(() => {
  const { send, renewToken, lift, leaveFor } = globalThis.keeptrusts;
  const $ = (selector, root = document) => root.querySelector(selector);
  const MINUTE = 60_000;

  // By this browser's clock, but counted from how long the server says is left: the clock may be wrong.
  let endsAt = null;
  // When it ends whatever is done.
  let endsAtLatest = null;
  let told = 0;
  let used = false;

  const left = () => endsAt - Date.now();
  const noteEnd = (answer, end) => {
    const now = answer.headers.get("date") ?? Date.now();
    endsAt = Date.now() + (new Date(end) - new Date(now));
  };

  const act = async (atOnce) => {
    used = true;
    if (endsAt === null || (!atOnce && Date.now() - told < MINUTE)) return;
    told = Date.now();
    used = false;
    const answer = await send("/api/session/activity", {}, undefined, true).catch(() => null);
    if (answer?.ok) {
      noteEnd(answer, (await answer.json()).expires_at);
      warn();
    } else if (answer?.status === 401) leave();
  };

  // Whoever has done nothing is offered to stay, unless that is worth some seconds only: nothing helps against age.
  const warn = () => {
    const notice = $("#ending");
    // Pages without the frame of the console have no place for it.
    if (!notice) return;
    const isByAge = endsAtLatest - endsAt < MINUTE / 2;
    for (const part of notice.querySelectorAll("[data-by-idleness]")) part.hidden = isByAge;
    $("[data-by-age]", notice).hidden = !isByAge;
    notice.hidden = left() > MINUTE;
    lift();
  };

  const leave = () => {
    const here = location.pathname + location.search;
    leaveFor(`/login?returnTo=${encodeURIComponent(here)}&reason=timeout`);
  };

  // Another tab may have carried the session on: nobody is warned or led away before the server has said so.
  let isLearning = false;
  const watch = async () => {
    if (used && left() < 2 * MINUTE) act(Date.now() - told >= MINUTE);
    if (left() <= MINUTE && !isLearning) {
      isLearning = true;
      await renewToken();
      isLearning = false;
    }
    warn();
  };

  // Each answer about the session tells of its end; one that is over leads away.
  document.addEventListener("kt:session", ({ detail: { answer, session } }) => {
    if (endsAt === null) return;
    if (session.authenticated) noteEnd(answer, session.expires_at);
    else leave();
  });

  document.addEventListener("click", (event) => {
    if (event.target.closest?.("[data-stay]")) act(true);
  });

  document.addEventListener("DOMContentLoaded", () => {
    const { endsIn, endsAtLatestIn, activeAgo } = document.body.dataset;
    if (endsIn) {
      endsAt = Date.now() + endsIn * 1000;
      endsAtLatest = Date.now() + endsAtLatestIn * 1000;
      told = Date.now() - activeAgo * 1000;
      for (const use of ["mousemove", "mousedown", "keydown", "wheel", "touchstart"]) {
        document.addEventListener(use, () => act(false), { passive: true });
      }
      setInterval(watch, 5000);
      document.addEventListener("visibilitychange", watch);
    }
  });
})();
