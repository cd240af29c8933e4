"use strict";
// Fetches the page anew every two seconds and swaps its content in, so that it is drawn in one place: by the server, escaped there.
// The token, where one is asked for, stays in this tab and goes out in a header only.
(() => {
  const STORED = "marquetry-token";
  const EVERY = 2000;

  async function refresh() {
    const headers = { Accept: "text/html" };
    const token = sessionStorage.getItem(STORED);
    if (token) headers.Authorization = "Bearer " + token;
    const answer = await fetch("/", { headers, cache: "no-store" });
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const next = page.querySelector("main");
    if (!next) return;
    for (const details of document.querySelectorAll("details[open][id]")) {
      next.querySelector("#" + CSS.escape(details.id))?.setAttribute("open", "");
    }
    document.querySelector("main").replaceWith(next);
  }

  function turn() {
    const reading = document.hidden || !getSelection().isCollapsed || document.querySelector("form");
    const work = reading ? Promise.resolve() : refresh();
    // A gateway that is away for a moment is asked again at the next turn.
    work.catch(() => {}).finally(() => setTimeout(turn, EVERY));
  }

  document.addEventListener("submit", (event) => {
    event.preventDefault();
    sessionStorage.setItem(STORED, new FormData(event.target).get("token").trim());
    refresh().catch(() => {});
  });
  if (document.querySelector("form") && sessionStorage.getItem(STORED)) refresh().catch(() => {});
  setTimeout(turn, EVERY);
})();
