// Sends files in the steps of the API: begin, chunks in any order, complete. What is known of an upload stays in this browser
// until it is complete, so that it goes on after a lost connection, a pause or a reload: the server says which chunks it has.
// Requests carry the cookie, which no script reads.
const API = "/api/v1/files/upload";
const CHUNKS_AT_ONCE = 3;
const FILES_AT_ONCE = 2;
const LONGEST_WAIT = 30;

const place = document.getElementById("upload");
const list = document.getElementById("uploads");
const told = document.getElementById("upload-told");
const sending = document.getElementById("sending");
const pauseButton = document.getElementById("pause");
const storeName = "fsn-uploads-" + place.dataset.owner;

let paused = false;
let waiting = []; // uploads that have not begun
let active = 0;
let finished = 0;
const unpaused = new Set(); // who waits for the pause to end
const requests = new Set(); // to be stopped by a pause

class Refused extends Error {}
class Stopped extends Error {}

// --- What stays over a reload -----------------------------------------------------------------

function remembered() {
  try { return JSON.parse(localStorage.getItem(storeName)) ?? []; } catch { return []; }
}

function remember(entries) {
  try { localStorage.setItem(storeName, JSON.stringify(entries.slice(-200))); } catch { /* it works without */ }
}

const isOf = (entry, upload) =>
  entry.name === upload.name && entry.size === upload.file.size && entry.modified === upload.file.lastModified;

const forget = (id) => remember(remembered().filter((entry) => entry.id !== id));

// --- Requests ---------------------------------------------------------------------------------

const sleep = (seconds) => new Promise((resolve) => setTimeout(resolve, seconds * 1000));

function whileUnpaused() {
  return paused ? new Promise((resolve) => unpaused.add(resolve)) : Promise.resolve();
}

// One request with progress; what `fetch` does not tell.
function send(method, path, body, onProgress) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open(method, path);
    if (typeof body === "string") request.setRequestHeader("Content-Type", "application/json");
    request.upload.addEventListener("progress", (event) => onProgress?.(event.loaded));
    request.addEventListener("load", () => {
      let answer = null;
      try { answer = JSON.parse(request.responseText); } catch { /* a proxy's page */ }
      resolve({ status: request.status, answer, after: Number(request.getResponseHeader("Retry-After")) || 0 });
    });
    request.addEventListener("error", () => resolve({ status: 0, answer: null, after: 0 }));
    request.addEventListener("abort", () => reject(new Stopped()));
    request.addEventListener("loadend", () => requests.delete(request));
    requests.add(request);
    request.send(body ?? null);
  });
}

// Until it is answered for good: a lost connection, a server that restarts or is busy, and an ended session are waited for.
async function ask(upload, method, path, body, onProgress) {
  for (let attempt = 0; ; attempt += 1) {
    await whileUnpaused();
    if (upload.cancelled) throw new Stopped();
    let got;
    try {
      got = await send(method, path, body, onProgress);
    } catch (stopped) {
      if (upload.cancelled) throw stopped;
      attempt = -1;
      continue; // paused: once more, when it goes on
    }
    if (got.status >= 200 && got.status < 300) return got.answer;
    const kind = String(got.answer?.type ?? "").split(":").pop();
    onProgress?.(0); // before anything is said, which it would take back
    const passing = [0, 408, 429, 500, 502, 503, 504].includes(got.status) || kind === "digest-pending" || kind === "upload-in-progress";
    if (got.status === 401) {
      upload.say("Your session has ended. Sign in in another tab: this goes on by itself.");
    } else if (passing) {
      upload.say(got.status === 0 ? "No connection: trying again …" : "The network is busy: trying again …");
    } else {
      const refused = new Refused(got.answer?.detail ?? `The network refuses it (${got.status}).`);
      refused.kind = kind;
      throw refused;
    }
    await sleep(Math.min(got.after || 2 ** Math.min(attempt, 5), LONGEST_WAIT));
  }
}

// --- One upload -------------------------------------------------------------------------------

class Upload {
  constructor(file, name) {
    this.file = file;
    this.name = name;
    this.cancelled = false;
    this.sent = new Map(); // bytes of the chunks that are there or on their way
    this.row = document.createElement("li");
    const shown = document.createElement("bdi");
    shown.className = "name";
    shown.textContent = name;
    shown.title = name;
    this.button = document.createElement("button");
    this.button.type = "button";
    this.button.className = "plain small";
    this.button.textContent = "Give up";
    this.button.setAttribute("aria-label", `Give up ${name}`);
    this.button.addEventListener("click", () => this.giveUp());
    this.bar = document.createElement("progress");
    this.bar.max = Math.max(file.size, 1);
    this.bar.value = 0;
    this.bar.setAttribute("aria-label", name);
    this.state = document.createElement("span");
    this.state.className = "state quiet";
    this.state.textContent = "Waiting";
    this.row.append(shown, this.button, this.bar, this.state);
    list.append(this.row);
  }

  say(text) { this.state.textContent = text; }

  progress() {
    let bytes = 0;
    for (const part of this.sent.values()) bytes += part;
    this.bar.value = bytes;
    this.say(`${Math.floor((100 * bytes) / Math.max(this.file.size, 1))} %`);
  }

  chunk(index) {
    const from = index * this.entry.chunkSize;
    return this.file.slice(from, from + this.entry.chunkSize);
  }

  async run() {
    try {
      const missing = (await this.takeUp()) ?? (await this.begin());
      await this.sendAll(missing);
      this.say("Completing …");
      await ask(this, "POST", `${API}/${this.entry.id}/complete`);
      forget(this.entry.id);
      this.bar.value = this.bar.max;
      this.say("Stored");
      this.row.dataset.state = "stored";
      this.button.remove();
      finished += 1;
    } catch (error) {
      if (error instanceof Stopped) return;
      // What cannot go on is begun anew when the file is chosen again.
      if (["upload-expired", "upload-closed", "not-found"].includes(error.kind)) forget(this.entry?.id);
      this.row.dataset.state = "failed";
      this.say(error instanceof Refused ? error.message : "The file cannot be read any more: choose it again.");
      this.button.textContent = "Dismiss";
    }
  }

  // What was begun before, in this browser and with this file: the chunks that are missing, or null.
  async takeUp() {
    this.entry = remembered().find((entry) => isOf(entry, this));
    if (!this.entry) return null;
    const missing = [];
    try {
      const status = await ask(this, "GET", `${API}/${this.entry.id}`);
      if (status.state !== "open") throw new Refused();
      const there = await this.digests(status);
      for (let index = 0; index < this.entry.chunkCount; index += 1) {
        const same = there.has(index) && (await this.isSame(index, there.get(index)));
        if (same) this.sent.set(index, this.chunk(index).size); else missing.push(index);
      }
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      forget(this.entry.id);
      this.entry = undefined;
      this.sent.clear();
      return null;
    }
    this.progress();
    return missing;
  }

  async digests(status) {
    const there = new Map();
    let page = status;
    for (let from = 0; ; from += 1000) {
      for (const chunk of page.chunks) there.set(chunk.index, chunk.sha256);
      if (from + 1000 >= this.entry.chunkCount) return there;
      page = await ask(this, "GET", `${API}/${this.entry.id}?from_index=${from + 1000}`);
    }
  }

  // Whether the file still has what was sent. Where the browser computes no digests, its date and length have to do.
  async isSame(index, sha256) {
    if (!sha256 || !globalThis.crypto?.subtle) return true;
    this.say("Comparing with what is there …");
    const digest = await crypto.subtle.digest("SHA-256", await this.chunk(index).arrayBuffer());
    return Array.from(new Uint8Array(digest), (byte) => byte.toString(16).padStart(2, "0")).join("") === sha256;
  }

  async begin() {
    const body = { filename: this.name, size_bytes: this.file.size };
    if (this.file.type) body.content_type = this.file.type;
    const begun = await ask(this, "POST", `${API}/initiate`, JSON.stringify(body));
    this.entry = {
      id: begun.upload_id, name: this.name, size: this.file.size, modified: this.file.lastModified,
      chunkSize: begun.chunk_size_bytes, chunkCount: begun.chunk_count,
    };
    remember([...remembered(), this.entry]);
    return Array.from({ length: begun.chunk_count }, (_, index) => index);
  }

  async sendAll(missing) {
    const rest = missing[Symbol.iterator]();
    const worker = async () => {
      for (const index of rest) {
        const path = `${API}/${this.entry.id}/chunk?index=${index}`;
        const chunk = this.chunk(index);
        await ask(this, "PUT", path, chunk, (loaded) => { this.sent.set(index, loaded); this.progress(); });
        this.sent.set(index, chunk.size);
        this.progress();
      }
    };
    await Promise.all(Array.from({ length: CHUNKS_AT_ONCE }, worker));
  }

  giveUp() {
    this.cancelled = true;
    if (this.entry) {
      forget(this.entry.id);
      fetch(`${API}/${this.entry.id}`, { method: "DELETE" }).catch(() => {});
    }
    waiting = waiting.filter((other) => other !== this);
    this.row.remove();
    sum();
  }
}

// --- All of them ------------------------------------------------------------------------------

function sum() {
  const left = waiting.length + active;
  sending.hidden = list.childElementCount === 0 && !told.textContent;
  pauseButton.hidden = left === 0;
  const failed = list.querySelectorAll("[data-state=failed]").length;
  const parts = [`${finished} stored`];
  if (left) parts.push(`${left} to go`);
  if (failed) parts.push(`${failed} not stored`);
  if (list.childElementCount) told.textContent = parts.join(", ") + (paused ? ". Paused." : ".");
}

async function refresh() {
  const answer = await fetch("/files");
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  const rows = page.getElementById("rows");
  if (!rows || new URL(location).searchParams.size > 0) return;
  document.getElementById("rows").replaceWith(rows);
  rows.closest("table").hidden = rows.childElementCount === 0;
  document.getElementById("empty")?.remove();
}

function next() {
  while (!paused && active < FILES_AT_ONCE && waiting.length) {
    const upload = waiting.shift();
    active += 1;
    upload.run().finally(() => {
      active -= 1;
      next();
      sum();
      if (active + waiting.length === 0) refresh().catch(() => {});
    });
  }
  sum();
}

function add(files) {
  for (const { file, name } of files) waiting.push(new Upload(file, name));
  next();
}

pauseButton.addEventListener("click", () => {
  paused = !paused;
  pauseButton.textContent = paused ? "Go on" : "Pause";
  pauseButton.setAttribute("aria-pressed", String(paused));
  if (paused) {
    for (const request of requests) request.abort();
  } else {
    for (const resolve of unpaused) resolve();
    unpaused.clear();
    next();
  }
  sum();
});

// Files of folders that were dropped, with their paths below the place they were dropped from.
async function walk(entry, into) {
  if (entry.isFile) {
    const file = await new Promise((resolve, reject) => entry.file(resolve, reject));
    into.push({ file, name: entry.fullPath.replace(/^\//, "") });
    return;
  }
  const reader = entry.createReader();
  for (;;) {
    const entries = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (entries.length === 0) return;
    for (const below of entries) await walk(below, into);
  }
}

const drop = document.getElementById("drop");
for (const kind of ["dragenter", "dragover"]) {
  drop.addEventListener(kind, (event) => { event.preventDefault(); drop.classList.add("over"); });
}
for (const kind of ["dragleave", "drop"]) drop.addEventListener(kind, () => drop.classList.remove("over"));
drop.addEventListener("drop", async (event) => {
  event.preventDefault();
  const entries = Array.from(event.dataTransfer.items, (item) => item.webkitGetAsEntry?.()).filter(Boolean);
  const files = [];
  for (const entry of entries) await walk(entry, files).catch(() => {});
  add(files);
});

for (const [button, picker] of [["choose", "picker"], ["choose-folder", "folder-picker"]]) {
  const input = document.getElementById(picker);
  document.getElementById(button).addEventListener("click", () => input.click());
  input.addEventListener("change", () => {
    add(Array.from(input.files, (file) => ({ file, name: file.webkitRelativePath || file.name })));
    input.value = "";
  });
}

addEventListener("beforeunload", (event) => { if (active + waiting.length) event.preventDefault(); });

const left = remembered();
if (left.length) {
  sending.hidden = false;
  told.textContent = "Not complete yet: " + left.map((entry) => `“${entry.name}”`).join(", ") + ". Choose the same files again, and they go on.";
}
place.hidden = false;
sum();
