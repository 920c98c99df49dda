// Keeps every service on the page up to date from one stream of events, and draws its figures.
"use strict";

const panelLive = (() => {
  const words = document.querySelector("[data-panel]")?.dataset;
  if (!words) return null;

  const SPAN = 300_000;
  const GAP = 10_000;
  const HIDDEN_FOR = 60_000;
  const KEY = `panel-samples:${words.liveUrl}`;
  const SVG = "http://www.w3.org/2000/svg";
  const holder = document.querySelector("[data-services]");
  const problem = document.querySelector("[data-problem]");
  const samples = new Map();
  let source = null;
  let again = 0;
  let sleep = 0;
  let names = null;

  const remember = () => {
    try { sessionStorage.setItem(KEY, JSON.stringify([...samples])); } catch { /* not allowed */ }
  };
  const recall = () => {
    try {
      for (const [name, list] of JSON.parse(sessionStorage.getItem(KEY) ?? "[]")) {
        samples.set(name, list.filter(([at]) => at > Date.now() - SPAN));
      }
    } catch { samples.clear(); }
  };

  const sample = (service) => {
    const now = Date.now();
    const list = samples.get(service.name) ?? [];
    const alive = service.pid !== null;
    list.push([now, alive ? service.cpu_percent : null, alive ? service.memory_bytes : null]);
    while (list[0][0] < now - SPAN) list.shift();
    samples.set(service.name, list);
  };

  const element = (name, attributes) => {
    const made = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    return made;
  };

  // Pieces of a line: it is broken where nothing ran and where nobody looked.
  const pieces = (list, column, top, now) => {
    const found = [];
    let last = null;
    for (const point of list) {
      const value = point[column];
      if (value === null) { last = null; continue; }
      const x = 100 - ((now - point[0]) / SPAN) * 100;
      const step = `${x.toFixed(2)},${(29 - (value / top) * 27).toFixed(2)}`;
      if (last !== null && point[0] - last < GAP) found[found.length - 1].push(step);
      else found.push([step]);
      last = point[0];
    }
    return found;
  };

  const draw = (place, name) => {
    const column = place.dataset.graph === "cpu" ? 1 : 2;
    const list = samples.get(name) ?? [];
    const peak = Math.max(0, ...list.map((point) => point[column] ?? 0));
    const top = Math.max(peak * 1.1, column === 1 ? 5 : 1);
    const parts = pieces(list, column, top, Date.now()).filter((piece) => piece.length > 1);
    let image = place.firstElementChild;
    if (!image) {
      image = element("svg", { viewBox: "0 0 100 30", preserveAspectRatio: "none", role: "img" });
      image.append(element("title", {}), element("path", { class: "spark__area" }),
        element("path", { class: "spark__line" }));
      place.append(image);
    }
    place.classList.toggle("spark--empty", parts.length === 0);
    const [title, area, line] = image.children;
    const figure = column === 1 ? `${peak.toFixed(1)} %` : `${(peak / 1e6).toFixed(1)} MB`;
    const words_ = column === 1 ? words.graphCpu : words.graphMemory;
    title.textContent = words_.replace("{}", figure);
    image.setAttribute("aria-label", title.textContent);
    line.setAttribute("d", parts.map((piece) => `M${piece.join("L")}`).join(""));
    area.setAttribute("d", parts.map((piece) => {
      const [from, to] = [piece[0], piece.at(-1)].map((step) => step.split(",")[0]);
      return `M${from},30L${piece.join("L")}L${to},30Z`;
    }).join(""));
  };

  const write = (place, text) => { if (place.textContent !== text) place.textContent = text; };

  // Writes only what has changed: focus, selection and what a screen reader is at stay.
  const patch = (place, service) => {
    if (place.dataset.state) place.dataset.state = service.state;
    for (const field of place.querySelectorAll("[data-f]")) {
      const text = service.texts[field.dataset.f];
      write(field, text);
      const row = field.closest("[data-hide-empty]");
      if (row) row.hidden = !text;
      field.closest("td")?.classList.toggle("none", text === "–");
    }
    for (const dot of place.querySelectorAll("[data-dot]")) dot.className = `dot dot--${service.tone}`;
    for (const form of place.querySelectorAll("[data-can]")) {
      const can = service.can.includes(form.dataset.can);
      if (!can && form.contains(document.activeElement)) {
        // Its neighbour takes the focus over, else it would fall back to the page's start.
        const next = service.can.map((a) => place.querySelector(`[data-can="${a}"] button`));
        form.hidden = true;
        for (const button of next) { button?.closest("form").removeAttribute("hidden"); }
        next[0]?.focus();
      }
      form.hidden = !can;
    }
    for (const graph of place.querySelectorAll("[data-graph]")) draw(graph, service.name);
  };

  const tail = (service) => {
    const place = document.querySelector(`[data-tail="${CSS.escape(service.name)}"]`);
    if (!place) return;
    write(place.querySelector("span"), service.log_tail.join("\n"));
    place.hidden = service.log_tail.length === 0;
  };

  const trouble = (detail, heading) => {
    if (!problem) return;
    if (detail) {
      write(problem.querySelector("strong"), heading);
      write(problem.querySelector("[data-problem-detail]"), detail);
    }
    problem.hidden = !detail;
    // Figures from before are not shown as if they were of now.
    for (const place of document.querySelectorAll("[data-services], .details")) {
      place.classList.toggle("stale", Boolean(detail));
      place.inert = Boolean(detail);
    }
  };

  const shown = () => holder && [...holder.querySelectorAll("tr[data-service]")]
    .map((row) => row.dataset.service).join("\n");

  const rebuild = async () => {
    const answer = await fetch(words.statusUrl, { headers: { Accept: "application/json" } });
    if (answer.ok) holder.innerHTML = (await answer.json()).html;
  };

  const apply = async (body) => {
    trouble(body.problem ?? "", problem?.dataset.heading);
    if (body.problem) return;
    for (const service of body.services) sample(service);
    names = body.services.map((service) => service.name).join("\n");
    if (holder && shown() !== names) await rebuild().catch(() => {});
    for (const service of body.services) {
      const key = CSS.escape(service.name);
      for (const place of document.querySelectorAll(`[data-service="${key}"]`)) {
        patch(place, service);
      }
      tail(service);
    }
    document.dispatchEvent(new CustomEvent("panel:services", { detail: body }));
  };

  // Without a stream, as there are only so many: by asking.
  const ask = async () => {
    try {
      const answer = await fetch(words.statusUrl, { headers: { Accept: "application/json" } });
      if (answer.status === 401 || answer.redirected) { location.reload(); return; }
      const body = await answer.json();
      await apply(answer.ok ? { ...body, event: null } : { problem: body.detail });
    } catch {
      trouble(words.offline, words.unreachable);
    }
  };

  const open = () => {
    clearTimeout(again);
    if (source && source.readyState !== EventSource.CLOSED) return;
    source = new EventSource(words.liveUrl);
    source.addEventListener("services", (event) => apply(JSON.parse(event.data)));
    source.addEventListener("error", async () => {
      const closed = source.readyState === EventSource.CLOSED;
      await ask();
      // Refused rather than broken off: the browser does not try again by itself.
      if (closed) again = setTimeout(open, 4000);
    });
  };
  const close = () => { clearTimeout(again); source?.close(); source = null; };

  // A page that nobody sees gives its stream back after a while.
  document.addEventListener("visibilitychange", () => {
    clearTimeout(sleep);
    if (document.hidden) sleep = setTimeout(close, HIDDEN_FOR);
    else open();
  });
  window.addEventListener("pagehide", () => { close(); remember(); });
  window.addEventListener("pageshow", open);

  recall();
  for (const place of document.querySelectorAll("[data-graph]")) {
    draw(place, place.closest("[data-service]").dataset.service);
  }
  open();
  return { words, ask };
})();
