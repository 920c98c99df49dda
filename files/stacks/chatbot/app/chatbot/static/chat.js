"use strict";
// The visitor's page. All text goes in as text, never as markup.
(() => {
  const KEY = "chatbot.conversation";
  const POLL = 4000;
  const by = (id) => document.getElementById(id);
  const chat = by("chat"), list = by("messages"), words = chat.dataset;
  let token = localStorage.getItem(KEY), last = 0, busy = false, timer = 0, state = "bot";

  function call(method, path, body, accept) {
    // No cookie goes along, so the language that was chosen does.
    const language = document.documentElement.lang.split("-")[0];
    const headers = { Accept: accept || "application/json", "Accept-Language": language };
    if (token) headers.Authorization = "Bearer " + token;
    if (body) headers["Content-Type"] = "application/json";
    return fetch(path, { method, headers, body: body && JSON.stringify(body), credentials: "omit" });
  }

  function show(author, text) {
    const box = document.createElement("div"), who = document.createElement("p");
    const said = document.createElement("p");
    box.className = "message " + author;
    who.className = "small";
    who.textContent = words[author];
    said.className = "text";
    said.textContent = text;
    box.append(who, said);
    list.append(box);
    box.scrollIntoView({ block: "nearest" });
    return said;
  }

  function also(said, sources) {
    const titles = (sources || []).slice(1).map((source) => source.title);
    if (!titles.length) return;
    const line = document.createElement("p");
    line.className = "small";
    line.textContent = words.sources + ": " + titles.join(" · ");
    said.after(line);
  }

  function tell(text) { by("state").textContent = text; }

  function enter(next) {
    state = next;
    by("person").hidden = state !== "bot";
    by("bot").hidden = state === "bot";
    tell(state === "waiting" ? words.waiting : state === "person" ? words.with : "");
  }

  function forget() {
    localStorage.removeItem(KEY);
    token = null;
    last = 0;
    while (list.children.length > 1) list.lastChild.remove();
    enter("bot");
  }

  async function news() {
    clearTimeout(timer);
    if (token && !busy && !document.hidden) {
      busy = true;
      try {
        const answer = await call("GET", "/api/conversation/messages?after=" + last);
        if (answer.status === 404 || answer.status === 401) forget();
        if (answer.ok) {
          const found = await answer.json();
          for (const message of found.messages) {
            also(show(message.author, message.body), message.sources);
            last = message.id;
          }
          if (found.state !== state) enter(found.state);
        }
      } catch { /* the network is away: the next turn asks again */ }
      busy = false;
    }
    // Only a person says something without being asked.
    if (state !== "bot") timer = setTimeout(news, POLL);
  }

  async function begin() {
    if (token) return true;
    const answer = await call("POST", "/api/conversations");
    if (!answer.ok) {
      tell(answer.status === 429 ? words.busy : words.failed);
      return false;
    }
    token = (await answer.json()).token;
    localStorage.setItem(KEY, token);
    return true;
  }

  function take(name, content, said) {
    if (name === "begin") {
      last = content.question;
      if (content.state !== state) enter(content.state);
    } else if (name === "piece") {
      said = said || show("bot", "");
      said.textContent += content;
      said.scrollIntoView({ block: "nearest" });
    } else if (name === "message") {
      last = content.id;
      also(said, content.sources);
    }
    return said;
  }

  async function read(stream) {
    const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
    let pending = "", said = null, ended = false;
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return ended;
      pending += value;
      const events = pending.split("\n\n");
      pending = events.pop();
      for (const event of events) {
        const [, name, data] = /^event: (\w+)\ndata: (.*)$/s.exec(event);
        said = take(name, JSON.parse(data), said);
        ended = ended || name === "end";
      }
    }
  }

  async function ask(text) {
    if (!(await begin())) return false;
    const answer = await call("POST", "/api/conversation/messages", { text }, "text/event-stream");
    if (answer.status === 404) forget();
    if (!answer.ok) {
      tell(answer.status === 429 ? words.busy : words.failed);
      return false;
    }
    tell("");
    show("visitor", text);
    if (!(await read(answer.body))) tell(words.failed);
    return true;
  }

  by("ask").addEventListener("submit", async (event) => {
    event.preventDefault();
    const field = by("question"), text = field.value.trim();
    if (!text || busy) return;
    busy = true;
    try {
      if (await ask(text)) field.value = "";
    } catch {
      tell(words.failed);
    }
    busy = false;
    if (state !== "bot") news();
  });
  by("question").addEventListener("keydown", (event) => {
    // While a word of Chinese is being put together, Enter ends that.
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      by("ask").requestSubmit();
    }
  });
  by("person").addEventListener("click", async () => {
    if (!(await begin())) return;
    const answer = await call("POST", "/api/conversation/person");
    if (answer.ok) enter("waiting"); else tell(words.busy);
    news();
  });
  by("bot").addEventListener("click", async () => {
    if ((await call("DELETE", "/api/conversation/person")).ok) enter("bot");
  });
  by("save").addEventListener("click", async () => {
    if (!token) return;
    const answer = await call("GET", "/api/conversation");
    if (!answer.ok) return;
    const link = document.createElement("a");
    link.href = URL.createObjectURL(await answer.blob());
    link.download = "conversation.json";
    link.click();
    URL.revokeObjectURL(link.href);
  });
  by("erase").addEventListener("click", async () => {
    if (!token || !confirm(words.sure)) return;
    const answer = await call("DELETE", "/api/conversation");
    if (answer.ok || answer.status === 404) {
      forget();
      tell(words.erased);
    } else tell(words.failed);
  });
  document.addEventListener("visibilitychange", news);
  news();
})();
