// A log as it grows: pause, search, and a view that stays where the reader has scrolled to.
"use strict";

(() => {
  const log = document.querySelector("[data-log]");
  if (!log) return;

  const MOST = 5000;
  const words = log.dataset;
  const state = document.querySelector("#log-state");
  const pause = document.querySelector("#log-pause");
  const search = document.querySelector("#log-search");
  let waiting = [];
  let paused = false;
  let source = null;

  const only = document.querySelector("#log-only");
  const count = document.querySelector("#log-count");

  // Every occurrence is marked; returns whether there is one.
  const mark = (line) => {
    const wanted = search.value.toLowerCase();
    const text = line.dataset.text;
    const low = text.toLowerCase();
    const parts = [];
    let from = 0;
    // Lower case may be longer than the text it is of: then places in one are none in the other.
    const apt = wanted && low.length === text.length;
    for (let at; apt && (at = low.indexOf(wanted, from)) >= 0; from = at + wanted.length) {
      const found = document.createElement("mark");
      found.textContent = text.slice(at, at + wanted.length);
      parts.push(text.slice(from, at), found);
    }
    const hit = Boolean(wanted) && low.includes(wanted);
    line.replaceChildren(...parts, text.slice(from));
    line.hidden = Boolean(wanted) && only.checked && !hit;
    return hit;
  };
  const tally = () => {
    const hits = [...log.children].filter((line) => line.querySelector("mark")).length;
    count.textContent = search.value ? words.found.replace("{}", hits) : "";
  };
  const markAll = () => { for (const line of log.children) mark(line); tally(); };

  // When a line was written, in the reader's zone; beside the text, so that a search is for that.
  const format = new Intl.DateTimeFormat(document.documentElement.lang, {
    dateStyle: "short", timeStyle: "medium",
  });
  const stamp = (line, at) => {
    if (!at) return;
    line.dataset.at = at;
    line.dataset.when = format.format(new Date(at));
  };
  for (const line of log.children) stamp(line, line.dataset.at);

  const add = (lines, problem) => {
    const end = log.scrollHeight - log.scrollTop - log.clientHeight < 40;
    for (const { at, text } of lines) {
      const line = document.createElement("div");
      line.className = problem ? "log__line log__line--problem" : "log__line";
      line.dataset.text = text;
      stamp(line, at);
      mark(line);
      log.append(line);
    }
    while (log.childElementCount > MOST) log.firstElementChild.remove();
    if (search.value) tally();
    if (end) log.scrollTop = log.scrollHeight;
  };

  const tell = (text, tone) => {
    state.textContent = text;
    state.className = `badge badge--${tone}`;
  };

  const open = () => {
    source = new EventSource(words.streamUrl);
    // Each opening sends the last lines again.
    source.addEventListener("open", () => {
      log.replaceChildren();
      waiting = [];
      tell(words.live, "good");
    });
    source.addEventListener("line", (event) => {
      const found = JSON.parse(event.data);
      if (paused) {
        waiting.push(found);
        if (waiting.length > MOST) waiting.shift();
        tell(`${words.paused} (+${waiting.length})`, "warn");
      } else {
        add([found], false);
      }
    });
    source.addEventListener("problem", (event) => add([{ text: JSON.parse(event.data).detail }], true));
    source.addEventListener("error", () => {
      tell(words.away, "warn");
      // Refused rather than broken off: the browser does not try again by itself.
      if (source.readyState === EventSource.CLOSED) setTimeout(open, 5000);
    });
  };

  pause.addEventListener("click", () => {
    paused = !paused;
    pause.setAttribute("aria-pressed", String(paused));
    pause.textContent = paused ? words.resume : words.pause;
    tell(paused ? words.paused : words.live, paused ? "warn" : "good");
    if (!paused) { add(waiting, false); waiting = []; }
  });
  search.addEventListener("input", markAll);
  only.addEventListener("change", markAll);
  // Enter goes from one line that was found to the next.
  let current = null;
  search.addEventListener("keydown", (event) => {
    if (event.key !== "Enter") return;
    event.preventDefault();
    const hits = [...log.children].filter((line) => line.querySelector("mark"));
    if (!hits.length) return;
    current?.classList.remove("log__line--current");
    const at = hits.indexOf(current);
    const last = hits.length - 1;
    current = event.shiftKey ? hits[at > 0 ? at - 1 : last] : hits[at < last ? at + 1 : 0];
    current.classList.add("log__line--current");
    current.scrollIntoView({ block: "nearest" });
  });
  window.addEventListener("pagehide", () => source?.close());

  log.scrollTop = log.scrollHeight;
  open();
})();
