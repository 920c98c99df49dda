const $ = (id) => document.getElementById(id);
const texts = JSON.parse($("texts").textContent);
const form = $("form");
const drop = $("drop");
const list = $("list");
const maxSize = Number(form.dataset.max);
const parallel = 2;
const queue = [];
let running = 0;

/** One file, its row in the list and the request that carries it. */
class Upload {
  constructor(file) {
    this.file = file;
    this.row = $("row").content.firstElementChild.cloneNode(true);
    this.button = this.row.querySelector(".action");
    this.progress = this.row.querySelector("progress");
    this.row.querySelector(".name").textContent = file.name;
    this.row.querySelector(".name").title = file.name;
    this.button.addEventListener("click", () => this.act());
    this.thumbnail();
    list.prepend(this.row);
    $("bar").hidden = false;
  }

  thumbnail() {
    const thumb = this.row.querySelector(".thumb");
    const dot = this.file.name.lastIndexOf(".");
    const label = dot > 0 ? this.file.name.slice(dot + 1, dot + 5) : "?";
    if (!this.file.type.startsWith("image/")) {
      thumb.textContent = label;
      return;
    }
    const image = new Image();
    image.alt = "";
    image.src = URL.createObjectURL(this.file);
    image.onload = () => URL.revokeObjectURL(image.src);
    image.onerror = () => { thumb.textContent = label; };
    thumb.append(image);
  }

  show(state, className, action, act) {
    this.row.className = className;
    this.row.querySelector(".state").textContent = state;
    this.progress.hidden = className !== "";
    this.button.textContent = action;
    this.act = act;
  }

  enqueue() {
    if (this.file.size > maxSize) return this.fail(texts.tooLarge, false);
    if (this.file.size === 0) return this.fail(texts.empty, false);
    this.progress.value = 0;
    this.show(texts.waiting, "", texts.cancel, () => {
      queue.splice(queue.indexOf(this), 1);
      this.fail(texts.cancelled, true);
    });
    queue.push(this);
    next();
  }

  start() {
    const request = new XMLHttpRequest();
    this.show(texts.uploading, "", texts.cancel, () => request.abort());
    request.open("POST", form.action);
    request.responseType = "json";
    request.upload.onprogress = (event) => {
      this.progress.value = event.loaded / event.total;
      const percent = Math.floor((100 * event.loaded) / event.total);
      this.row.querySelector(".state").textContent = percent < 100 ? `${percent}%` : texts.storing;
    };
    request.onload = () => this.finish(request);
    request.onerror = () => this.fail(texts.network, true);
    request.onabort = () => this.fail(texts.cancelled, true);
    request.onloadend = () => { running -= 1; next(); };
    const body = new FormData();
    body.append("image", this.file, this.file.name);
    request.send(body);
  }

  finish(request) {
    const reply = request.response;
    if (request.status === 401) return this.fail(texts.signIn, true, "/pwd" + location.search);
    if (!reply || reply.code !== 1) return this.fail(reply?.message ?? `HTTP ${request.status}`, true);
    this.url = reply.url;
    this.show(texts.done, "done", texts.remove, () => { this.row.remove(); tidy(); });
    this.links(reply.url);
  }

  links(url) {
    const name = this.file.name.replace(/[[\]<>"&\\]/g, "");
    const links = this.row.querySelector(".links");
    const anchor = document.createElement("a");
    anchor.href = anchor.textContent = url;
    anchor.target = "_blank";
    anchor.rel = "noopener";
    links.replaceChildren(anchor);
    const picture = this.file.type.startsWith("image/");
    const forms = {
      [texts.link]: url,
      Markdown: `${picture ? "!" : ""}[${name}](${url})`,
      HTML: picture ? `<img src="${url}" alt="${name}">` : `<a href="${url}">${name}</a>`,
      BBCode: picture ? `[img]${url}[/img]` : `[url=${url}]${name}[/url]`,
    };
    for (const [label, text] of Object.entries(forms)) links.append(copyButton(label, text, links));
    links.hidden = false;
  }

  fail(reason, retry, link) {
    this.show(reason, "failed", retry ? texts.retry : texts.remove, () => {
      if (retry) return this.enqueue();
      this.row.remove();
      return tidy();
    });
    if (!link) return;
    const anchor = document.createElement("a");
    anchor.href = link;
    anchor.textContent = reason;
    this.row.querySelector(".state").replaceChildren(anchor);
  }
}

const uploads = [];

function add(files) {
  for (const file of files) {
    const upload = new Upload(file);
    uploads.push(upload);
    upload.enqueue();
  }
}

function next() {
  while (running < parallel && queue.length > 0) {
    running += 1;
    queue.shift().start();
  }
}

function tidy() {
  $("bar").hidden = list.children.length === 0;
}

function copyButton(label, text, where) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "quiet";
  button.textContent = label;
  button.addEventListener("click", () => copy(text, button, where));
  return button;
}

async function copy(text, button, where) {
  const label = button.textContent;
  if (!(await toClipboard(text))) return showForCopying(text, where);
  button.textContent = texts.copied;
  button.disabled = true;
  setTimeout(() => { button.textContent = label; button.disabled = false; }, 1200);
}

/** The clipboard API exists on HTTPS and localhost only; many image hosts are neither. */
async function toClipboard(text) {
  if (navigator.clipboard) {
    try {
      await navigator.clipboard.writeText(text);
      return true;
    } catch { /* refused: try the old way */ }
  }
  const area = document.createElement("textarea");
  area.value = text;
  area.readOnly = true;
  document.body.append(area);
  area.select();
  const copied = document.execCommand("copy");
  area.remove();
  return copied;
}

function showForCopying(text, where) {
  where.querySelector("textarea")?.remove();
  const area = document.createElement("textarea");
  area.value = text;
  area.readOnly = true;
  area.setAttribute("aria-label", texts.copyFailed);
  where.append(area);
  area.select();
}

function hasFiles(event) {
  return [...(event.dataTransfer?.types ?? [])].includes("Files");
}

$("files").addEventListener("change", (event) => {
  add([...event.target.files]);
  event.target.value = "";
});
form.addEventListener("submit", (event) => event.preventDefault());
document.addEventListener("paste", (event) => {
  const files = [...(event.clipboardData?.files ?? [])];
  if (files.length === 0) return;
  event.preventDefault();
  add(files);
});
// The whole window takes drops: a file that misses the box must not replace the page.
for (const type of ["dragenter", "dragover"]) {
  document.addEventListener(type, (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    drop.classList.add("over");
  });
}
document.addEventListener("dragleave", (event) => {
  if (event.relatedTarget === null) drop.classList.remove("over");
});
document.addEventListener("drop", (event) => {
  drop.classList.remove("over");
  if (!hasFiles(event)) return;
  event.preventDefault();
  add([...event.dataTransfer.files]);
});
$("copy-all").addEventListener("click", (event) => {
  const links = uploads.filter((u) => u.url && u.row.isConnected).map((u) => u.url);
  if (links.length > 0) copy(links.join("\n"), event.currentTarget, $("bar"));
});
$("clear").addEventListener("click", () => {
  for (const upload of uploads) {
    if (upload.row.className !== "") upload.row.remove();
  }
  tidy();
});
window.addEventListener("beforeunload", (event) => {
  if (running > 0) event.preventDefault();
});
