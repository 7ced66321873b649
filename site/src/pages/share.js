// Opens what was sealed before it was stored, in the browser: the secret stands behind the address's `#` and is never sent.
// Formats: docs/sharing.md. Nothing of a segment is handed out before its tag was checked.
const SEGMENT = 65536, HEADER = 64, MOST = 64 * 1024 * 1024;
const text = new TextEncoder();

const join = (...parts) => {
  const all = new Uint8Array(parts.reduce((length, part) => length + part.length, 0));
  let at = 0;
  for (const part of parts) { all.set(part, at); at += part.length; }
  return all;
};

const bytesOf = (base64url) => {
  const binary = atob(base64url.replaceAll("-", "+").replaceAll("_", "/"));
  return Uint8Array.from(binary, (c) => c.charCodeAt(0));
};

const derive = async (secret, salt, info) => {
  const key = await crypto.subtle.importKey("raw", secret, "HKDF", false, ["deriveBits"]);
  return new Uint8Array(await crypto.subtle.deriveBits({ name: "HKDF", hash: "SHA-256", salt, info }, key, 256));
};

const unseal = async (rawKey, sealed, additionalData) => {
  const key = await crypto.subtle.importKey("raw", rawKey, "AES-GCM", false, ["decrypt"]);
  const iv = sealed.subarray(0, 12);
  return new Uint8Array(await crypto.subtle.decrypt({ name: "AES-GCM", iv, additionalData }, key, sealed.subarray(12)));
};

const same = (a, b) => a.length === b.length && a.every((byte, at) => byte === b[at]);

/// What the envelope says: the file's key, its name, its size and its type.
export async function openEnvelope(id, secret, envelope) {
  if (envelope[0] !== 1) throw new Error("the envelope is of a version that this page does not know");
  const label = text.encode("fsn v1 share");
  const key = await derive(secret, id, label);
  return JSON.parse(new TextDecoder().decode(await unseal(key, envelope.subarray(1), join(label, id))));
}

/// The pieces of a sealed file, in order.
export async function* openContent(fileKey, sealed) {
  const head = sealed.slice(0, 32), salt = head.slice(16);
  const begins = join(text.encode("FSNE2E"), Uint8Array.of(0, 1, 1, 1, 16, 0, 0, 0, 0, 1));
  if (!same(head.slice(0, 16), begins)) throw new Error("it is sealed in a form, or in parts, that this page does not know");
  const commitment = await derive(fileKey, salt, join(text.encode("fsn e2e v1 commit"), head));
  if (!same(commitment, sealed.slice(32, HEADER))) throw new Error("the key is another file's");
  const key = await derive(fileKey, salt, join(text.encode("fsn e2e v1 content"), head));
  const count = Math.ceil(sealed.length / SEGMENT);
  for (let at = 0; at < count; at++) {
    const begin = at === 0 ? HEADER : at * SEGMENT;
    const place = new Uint8Array(9);
    new DataView(place.buffer).setBigUint64(0, BigInt(at));
    place[8] = at === count - 1 ? 1 : 0;
    yield await unseal(key, sealed.subarray(begin, Math.min((at + 1) * SEGMENT, sealed.length)), join(commitment, place));
  }
}

/// Without what turns the direction of what follows: `gpj.exe` is not to be read as a picture.
export const plainName = (name) => name.replace(/[\p{Cc}\u200e\u200f\u202a-\u202e\u2066-\u2069]/gu, "");

async function show(script) {
  const told = document.getElementById("told"), button = document.getElementById("open");
  const say = (what) => { told.textContent = what; };
  if (!location.hash) return say("The link has lost its end, from the # on: without that nobody can open the file.");
  if (!globalThis.isSecureContext || !crypto.subtle) return say("Browsers open sealed files over https alone.");
  const about = await (await fetch(script.dataset.about)).json();
  const id = bytesOf(script.dataset.about.split("/").pop()), secret = bytesOf(location.hash.slice(1));
  const inside = await openEnvelope(id, secret, bytesOf(about.envelope));
  const name = plainName(inside.name);
  document.title = name;
  document.querySelector("h1").textContent = name;
  if (about.size_bytes > MOST) return say("The file is too large to be opened in a browser: it takes another program that opens sealed links.");
  say("Sealed before it was stored; it is opened in this browser.");
  button.hidden = false;
  button.onclick = async () => {
    button.disabled = true;
    try {
      say("Fetching it …");
      const answer = await fetch(script.dataset.content);
      if (!answer.ok) throw new Error((await answer.json()).detail);
      const sealed = new Uint8Array(await answer.arrayBuffer()), pieces = [];
      for await (const piece of openContent(bytesOf(inside.k), sealed)) pieces.push(piece);
      const link = document.createElement("a");
      // Of no type that a browser would run from here.
      link.href = URL.createObjectURL(new Blob(pieces, { type: "application/octet-stream" }));
      link.download = name;
      link.click();
      say("Opened, and every part of it is what was sealed.");
    } catch (error) {
      say(`It could not be opened: ${error.message || "it is not what was sealed"}`);
    }
    button.disabled = false;
  };
}

const script = globalThis.document?.querySelector("script[data-about]");
if (script) {
  show(script).catch((error) => {
    document.getElementById("told").textContent = `It could not be opened: ${error.message || "the link is wrong"}`;
  });
}
