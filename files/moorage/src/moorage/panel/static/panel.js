// Actions on services: a question first, with room for a reason, and the outcome afterwards.
"use strict";

(() => {
  if (!panelLive) return;

  const words = panelLive.words;
  const dialog = document.querySelector("#panel-confirm");
  const reason = document.querySelector("#panel-reason");
  const toast = document.querySelector("#panel-toast");
  const yes = dialog.querySelector('button[value="yes"]');
  let hide = 0;

  const close = () => { clearTimeout(hide); toast.classList.remove("toast--shown"); };
  const say = (text, failed) => {
    // The place for it is always there: screen readers miss what appears together with its text.
    toast.querySelector("[data-text]").textContent = text;
    toast.classList.toggle("toast--error", failed);
    toast.classList.add("toast--shown");
    clearTimeout(hide);
    // What went wrong stays until it has been read.
    if (!failed) hide = setTimeout(close, 8000);
  };

  const confirmed = (form) => new Promise((resolve) => {
    dialog.querySelector("#panel-question").textContent = form.dataset.question;
    yes.textContent = form.dataset.verb;
    yes.classList.toggle("button--grave", "grave" in form.dataset);
    reason.value = "";
    dialog.returnValue = "";
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true });
    dialog.showModal();
  });

  const act = async (form) => {
    const place = form.parentElement;
    const body = new URLSearchParams({ reason: reason.value });
    place.setAttribute("aria-busy", "true");
    say(words.working, false);
    clearTimeout(hide);
    try {
      const answer = await fetch(form.action, {
        method: "POST",
        body,
        headers: { Accept: "application/json", "X-CSRF-Token": words.csrf },
      });
      const found = await answer.json();
      say(found.message ?? found.detail, !answer.ok);
    } catch {
      say(words.unreachable, true);
    }
    place.removeAttribute("aria-busy");
    await panelLive.ask();
  };

  document.addEventListener("submit", async (event) => {
    const form = event.target;
    if (!form.dataset.question || !form.dataset.verb) return;
    event.preventDefault();
    if (form.parentElement.getAttribute("aria-busy")) return;
    if (await confirmed(form)) await act(form);
  });
  dialog.querySelector("[data-cancel]").addEventListener("click", () => dialog.close(""));
  toast.querySelector(".toast__close").addEventListener("click", close);
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && !dialog.open) close();
  });
})();
