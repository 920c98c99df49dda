// The services: kept up to date, and controlled with a question first and the outcome afterwards.
"use strict";

(() => {
  const holder = document.querySelector("[data-services]");
  if (!holder) return;

  const words = holder.dataset;
  const dialog = document.querySelector("#panel-confirm");
  const toast = document.querySelector("#panel-toast");
  let hide = 0;
  let pending = false;

  const say = (text, failed) => {
    toast.textContent = text;
    toast.classList.toggle("toast--error", failed);
    toast.hidden = false;
    clearTimeout(hide);
    hide = setTimeout(() => { toast.hidden = true; }, failed ? 12000 : 5000);
  };

  const show = (html) => {
    const focused = holder.contains(document.activeElement) ? document.activeElement.id : "";
    holder.innerHTML = html;
    if (focused) document.getElementById(focused)?.focus();
  };

  const refresh = async () => {
    if (pending || document.hidden || dialog.open) return;
    try {
      const answer = await fetch(words.statusUrl, { headers: { Accept: "application/json" } });
      if (answer.status === 401) { location.reload(); return; }
      const body = await answer.json();
      if (pending || dialog.open) return;
      if (answer.ok) {
        show(body.html);
        words.failing = "";
      } else if (words.failing !== body.detail) {
        words.failing = body.detail;
        location.reload();
      }
    } catch {
      holder.setAttribute("aria-busy", "true");
      return;
    }
    holder.removeAttribute("aria-busy");
  };

  const confirmed = (question) => new Promise((resolve) => {
    dialog.querySelector("p").textContent = question;
    dialog.returnValue = "";
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true });
    dialog.showModal();
  });

  holder.addEventListener("submit", async (event) => {
    event.preventDefault();
    const form = event.target;
    if (!await confirmed(form.dataset.confirm)) return;
    pending = true;
    holder.setAttribute("aria-busy", "true");
    for (const button of holder.querySelectorAll("button")) button.disabled = true;
    say(words.working, false);
    try {
      const answer = await fetch(form.action, {
        method: "POST",
        body: new FormData(form),
        headers: { Accept: "application/json" },
      });
      const body = await answer.json();
      say(answer.ok ? body.message : body.detail, !answer.ok);
    } catch {
      say(words.unreachable, true);
    }
    pending = false;
    await refresh();
  });

  setInterval(refresh, 2500);
  document.addEventListener("visibilitychange", refresh);
})();
