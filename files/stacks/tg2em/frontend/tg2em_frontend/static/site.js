// Times in the reader's own zone; forms that ask before they destroy; a sign-in that moves on.
"use strict";

(() => {
  const format = new Intl.DateTimeFormat(document.documentElement.lang, {
    dateStyle: "medium", timeStyle: "short",
  });
  for (const time of document.querySelectorAll("time[data-local]")) {
    time.textContent = format.format(new Date(time.dateTime));
  }

  for (const form of document.querySelectorAll("form[data-ask]")) {
    form.addEventListener("submit", (event) => {
      if (!window.confirm(form.dataset.ask)) event.preventDefault();
    });
  }

  // On a phone the row of places is wider than the screen.
  document.querySelector(".admin-nav [aria-current]")?.scrollIntoView({ block: "nearest",
    inline: "center" });

  const waiting = document.querySelector("[data-poll]");
  if (waiting) {
    const look = async () => {
      const answer = await fetch(waiting.dataset.poll, { headers: { Accept: "application/json" } });
      if (!answer.ok) return;
      const body = await answer.json();
      if (body.state !== waiting.dataset.state) location.reload();
    };
    setInterval(() => { if (!document.hidden) look().catch(() => {}); }, 2000);
  }
})();
