/*
 * Makes the admin's pages move. Without it they show the same, as it was when they were loaded.
 *
 *   data-dct-live="URL" data-dct-every="5"   asks URL every 5 seconds while the page is to be seen, and puts each element of
 *                                            the answer with data-dct-part="NAME" in the place of the one on the page;
 *                                            ends when the answer holds an element with data-dct-done
 *   data-dct-stale                           shown while no answer comes
 *   time.dct-time[datetime]                  shown in the browser's time zone
 *   data-dct-copy="#ID"                      a button that copies the text of that element
 *   data-dct-needs-script                    hidden without this script
 */
"use strict";

(() => {
  const PATIENCE_MS = 15_000;
  const pad = (number, length = 2) => String(number).padStart(length, "0");

  /* The text keeps the form that the server chose: with or without a date, to the second or the millisecond. */
  function localize(root) {
    for (const element of root.querySelectorAll("time.dct-time[datetime]")) {
      const at = new Date(element.dateTime);
      if (Number.isNaN(at.getTime()) || element.dataset.dctLocal) continue;
      const text = element.textContent.trim();
      const date = `${at.getFullYear()}-${pad(at.getMonth() + 1)}-${pad(at.getDate())}`;
      let clock = `${pad(at.getHours())}:${pad(at.getMinutes())}`;
      if (/:\d\d:\d\d/.test(text)) clock += `:${pad(at.getSeconds())}`;
      if (/\.\d+/.test(text)) clock += `.${pad(at.getMilliseconds(), 3)}`;
      element.textContent = /\d-\d/.test(text) ? `${date} ${clock}` : clock;
      element.dataset.dctLocal = "yes";
    }
  }

  function reveal(root) {
    for (const element of root.querySelectorAll("[data-dct-needs-script]")) element.hidden = false;
  }

  /* What somebody has opened stays open, and what has the focus keeps it. */
  function replace(old, fresh) {
    const opened = new Set([...old.querySelectorAll("details[open][data-dct-key]")].map((one) => one.dataset.dctKey));
    for (const one of fresh.querySelectorAll("details[data-dct-key]")) one.open = one.open || opened.has(one.dataset.dctKey);
    const focused = old.contains(document.activeElement) ? document.activeElement : null;
    const scrolls = [...old.querySelectorAll("[data-dct-key]")].map((one) => [one.dataset.dctKey, one.scrollTop, one.scrollLeft]);
    localize(fresh);
    reveal(fresh);
    old.replaceWith(fresh);
    for (const [key, top, left] of scrolls) {
      const one = fresh.querySelector(`[data-dct-key="${CSS.escape(key)}"]`);
      if (one) [one.scrollTop, one.scrollLeft] = [top, left];
    }
    if (focused && focused.id) document.getElementById(focused.id)?.focus({ preventScroll: true });
  }

  function show(answer, seen) {
    for (const fresh of answer.querySelectorAll("[data-dct-part]")) {
      const name = fresh.dataset.dctPart;
      const text = fresh.outerHTML;
      if (seen.get(name) === text) continue;
      const old = document.querySelector(`[data-dct-part="${CSS.escape(name)}"]`);
      if (!old || old.querySelector("input:focus, select:focus, textarea:focus")) continue;
      seen.set(name, text);
      replace(old, document.importNode(fresh, true));
    }
  }

  const silent = new Set();

  function heard(element, answered) {
    if (answered) silent.delete(element);
    else silent.add(element);
    for (const one of document.querySelectorAll("[data-dct-stale]")) one.hidden = silent.size === 0;
  }

  async function poll(element) {
    const seen = new Map();
    const pause = Number(element.dataset.dctEvery) * 1000;
    const waited = () =>
      new Promise((resolve) => {
        const timer = setTimeout(done, pause);
        function done() {
          clearTimeout(timer);
          document.removeEventListener("visibilitychange", shown);
          if (document.hidden) document.addEventListener("visibilitychange", done, { once: true });
          else resolve();
        }
        function shown() {
          if (!document.hidden) done();
        }
        document.addEventListener("visibilitychange", shown);
      });
    for (;;) {
      await waited();
      try {
        const answer = await fetch(element.dataset.dctLive, {
          credentials: "same-origin",
          cache: "no-store",
          redirect: "error",
          signal: AbortSignal.timeout(PATIENCE_MS),
        });
        if (!answer.ok) throw new Error(String(answer.status));
        const page = new DOMParser().parseFromString(await answer.text(), "text/html");
        show(page, seen);
        heard(element, true);
        if (page.querySelector("[data-dct-done]")) return;
      } catch {
        heard(element, false);
      }
    }
  }

  async function copy(button) {
    const text = document.querySelector(button.dataset.dctCopy)?.textContent ?? "";
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      return; /* not on a secure origin: the text is there to be marked */
    }
    const label = button.textContent;
    button.textContent = button.dataset.dctCopied || label;
    setTimeout(() => (button.textContent = label), 2000);
  }

  function start() {
    localize(document);
    reveal(document);
    for (const element of document.querySelectorAll("[data-dct-live]")) poll(element);
    document.addEventListener("click", (event) => {
      const button = event.target.closest?.("[data-dct-copy]");
      if (button) copy(button);
    });
  }

  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start);
  else start();
})();
