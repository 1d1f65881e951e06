/**
 * Checks that an entry is in a log (C2SP tlog-proof, docs/encodings.md), in a browser or in Node, with WebCrypto and
 * nothing else: the proof that a scan was logged.
 *
 * Written from the document and not from trust/logproof.py, so that the two check each other; tests/vectors/logproof.json
 * holds what both must accept and refuse.
 */

import { leadsTo } from "./receipt.mjs";

const HEADER = "c2sp.org/tlog-proof@v1";
const MAX_BYTES = 512 * 1024;
const MAX_NOTE_BYTES = 256 * 1024;
const MAX_SIGNATURES = 100;
const LONGEST_PATH = 63;
const MAX_SIZE = (1n << 63n) - 1n;
const NUMBER = /^(0|[1-9][0-9]{0,18})$/;
const BASE64 = /^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/;
const CONTROL = /[\u0000-\u0009\u000b-\u001f]/;
const NO_NAME = /^$|[+\u0085]|(?!\ufeff)\s/;
const ED25519 = 1;
const DASH = "— ";
const ENTRY_BYTES = 114;

/** The text proves nothing; the message says why. */
export class LogProofRefused extends Error {}

/**
 * Checks a proof, a string or its bytes in UTF-8, with the log's public keys (`<name>+<id>+<base64>`, got from where the
 * log cannot change them). Gives {entry, index, origin, size, root}: entry `index` (a BigInt, from 0) of the log `origin` is
 * `entry`, in the tree of `size` entries and this root that the log signed. Throws LogProofRefused.
 */
export async function verifyLogProof(input, keys, { subtle = globalThis.crypto.subtle } = {}) {
  const { entry, index, path, note } = parse(input);
  const known = await Promise.all(keys.map((key) => readKey(key, subtle)));
  if (new Set(known.map((key) => key.name)).size !== 1) refuse("there is no key, or keys of several logs");
  const { origin, size, root } = checkpoint(await signedText(note, known, subtle));
  if (origin !== known[0].name) refuse(`the checkpoint is of ${origin}, not of ${known[0].name}`);
  if (!(await leadsTo(entry, { index, size, path, root }, subtle))) refuse("the entry is not in the tree at its place");
  return { entry, index, origin, size, root };
}

/** What an entry of the scan ledger says, ids in hex. Throws LogProofRefused. */
export function readScan(entry) {
  if (entry.length !== ENTRY_BYTES || hex(entry.slice(0, 4)) !== "56545301") refuse("the entry is not one of the scan ledger");
  const view = new DataView(entry.buffer, entry.byteOffset);
  return {
    eventId: hex(entry.slice(36, 52)),
    productId: hex(entry.slice(52, 68)),
    timeMs: Number(view.getBigUint64(68)),
    verdict: entry[76],
    riskTotal: entry[77] === 255 ? null : entry[77],
    riskVersion: view.getUint32(78),
  };
}

function parse(input) {
  const bytes = typeof input === "string" ? utf8(input) : input;
  if (bytes.length > MAX_BYTES) refuse("the proof is too long");
  let text;
  try {
    text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    refuse("the proof is not UTF-8");
  }
  const end = text.indexOf("\n\n");
  const lines = text.slice(0, Math.max(end, 0)).split("\n");
  if (end < 0 || lines.length < 3 || lines.length > 3 + LONGEST_PATH) refuse("the proof is not a few lines and a checkpoint");
  if (lines[0] !== HEADER) refuse(`line 1 is not ${HEADER}`);
  const index = after("index ", lines[2]);
  if (!NUMBER.test(index)) refuse("line 3 is not a number in its one form");
  const path = lines.slice(3).map(base64);
  if (path.some((hash) => hash.length !== 32)) refuse("a line of the path is not a hash");
  return { entry: base64(after("extra ", lines[1])), index: BigInt(index), path, note: text.slice(end + 2) };
}

/** The text of a signed note, once every signature under the name of a known key is found to be that key's. */
async function signedText(note, known, subtle) {
  const end = note.lastIndexOf("\n\n");
  if (end < 0 || !note.endsWith("\n") || utf8(note).length > MAX_NOTE_BYTES || CONTROL.test(note)) refuse("there is no signed note");
  const lines = note.slice(end + 2).split("\n").slice(0, -1);
  if (lines.length > MAX_SIGNATURES) refuse("the note has too many signatures");
  const text = note.slice(0, end + 1);
  let signed = false;
  for (const { name, id, value } of lines.map(signature)) {
    const key = known.find((each) => each.name === name && each.id === id);
    if (key === undefined) continue;
    if (!(await made(key, utf8(text), value, subtle))) refuse(`the signature of ${name} is not its own`);
    signed = true;
  }
  if (!signed) refuse("no known key has signed the checkpoint");
  return text;
}

function signature(line) {
  const [name, encoded] = cut(line.slice(DASH.length), " ");
  const value = base64(encoded);
  if (!line.startsWith(DASH) || NO_NAME.test(name) || value.length <= 4) refuse("a line below the text is not a signature");
  return { name, id: hex(value.slice(0, 4)), value: value.slice(4) };
}

async function made(key, text, value, subtle) {
  const imported = await subtle.importKey("raw", key.bytes, { name: "Ed25519" }, false, ["verify"]);
  return value.length === 64 && subtle.verify({ name: "Ed25519" }, imported, value, text);
}

async function readKey(text, subtle) {
  const [name, rest] = cut(text, "+");
  const [id, encoded] = cut(rest, "+");
  const bytes = base64(encoded);
  if (NO_NAME.test(name) || CONTROL.test(name) || bytes.length !== 33 || bytes[0] !== ED25519) refuse("a key is not an Ed25519 key");
  const digest = await subtle.digest("SHA-256", Uint8Array.from([...utf8(`${name}\n`), ...bytes]));
  if (hex(new Uint8Array(digest, 0, 4)) !== id) refuse("a key's id does not belong to it");
  return { name, id, bytes: bytes.slice(1) };
}

function checkpoint(text) {
  const [origin, size, root, ...more] = text.slice(0, -1).split("\n");
  if ([origin, root, ...more].some((line) => !line) || !NUMBER.test(size) || BigInt(size) > MAX_SIZE) refuse("there is no checkpoint");
  const hash = base64(root);
  if (hash.length !== 32) refuse("the checkpoint's root is not a hash");
  return { origin, size: BigInt(size), root: hash };
}

/** Standard base64 in the one form that its bytes have. */
function base64(text) {
  if (!BASE64.test(text) || btoa(atob(text)) !== text) refuse("a line is not base64 in its one form");
  return Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
}

function after(word, line) {
  if (!line.startsWith(word)) refuse(`a line does not begin with ${word}`);
  return line.slice(word.length);
}

function cut(text, at) {
  const place = text.indexOf(at);
  return place < 0 ? [text, ""] : [text.slice(0, place), text.slice(place + at.length)];
}

function refuse(why) {
  throw new LogProofRefused(why);
}

function utf8(value) {
  return new TextEncoder().encode(value);
}

function hex(bytes) {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
