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

  const mark = (line) => {
    const wanted = search.value.toLowerCase();
    const text = line.dataset.text;
    line.replaceChildren();
    const at = wanted ? text.toLowerCase().indexOf(wanted) : -1;
    line.hidden = Boolean(wanted) && at < 0;
    if (at < 0) { line.textContent = text; return; }
    const found = document.createElement("mark");
    found.textContent = text.slice(at, at + wanted.length);
    line.append(text.slice(0, at), found, text.slice(at + wanted.length));
  };

  const add = (texts, problem) => {
    const end = log.scrollHeight - log.scrollTop - log.clientHeight < 40;
    for (const text of texts) {
      const line = document.createElement("div");
      line.className = problem ? "log__line log__line--problem" : "log__line";
      line.dataset.text = text;
      mark(line);
      log.append(line);
    }
    while (log.childElementCount > MOST) log.firstElementChild.remove();
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
      const text = JSON.parse(event.data);
      if (paused) {
        waiting.push(text);
        if (waiting.length > MOST) waiting.shift();
        tell(`${words.paused} (+${waiting.length})`, "warn");
      } else {
        add([text], false);
      }
    });
    source.addEventListener("problem", (event) => add([JSON.parse(event.data).detail], true));
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
  search.addEventListener("input", () => { for (const line of log.children) mark(line); });
  window.addEventListener("pagehide", () => source?.close());

  log.scrollTop = log.scrollHeight;
  open();
})();
