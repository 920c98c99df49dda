// The events: shown anew as soon as there is another one, in the reader's own time zone.
"use strict";

(() => {
  const rows = document.querySelector("[data-events]");
  const filter = document.querySelector("[data-filter]");
  if (!rows || !panelLive) return;

  const format = new Intl.DateTimeFormat(document.documentElement.lang, {
    dateStyle: "medium", timeStyle: "medium",
  });
  const local = () => {
    for (const time of rows.querySelectorAll("time")) {
      time.textContent = format.format(new Date(time.dateTime));
    }
  };

  const load = async () => {
    const query = new URLSearchParams(new FormData(filter));
    const answer = await fetch(`${location.pathname}?${query}`, {
      headers: { Accept: "application/json" },
    });
    if (!answer.ok) return;
    const body = await answer.json();
    rows.innerHTML = body.html;
    rows.dataset.events = body.last;
    local();
  };

  filter.querySelector("button").hidden = true;
  filter.addEventListener("change", () => {
    const query = new URLSearchParams(new FormData(filter));
    history.replaceState(null, "", `${location.pathname}?${query}`);
    load().catch(() => {});
  });
  document.addEventListener("panel:services", (event) => {
    const last = event.detail.event;
    if (last !== null && String(last) !== rows.dataset.events) load().catch(() => {});
  });
  local();
})();
