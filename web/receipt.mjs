/**
 * Checks VokeTag receipts (docs/encodings.md) in a browser or in Node, with WebCrypto and nothing else.
 *
 * Written from the document and not from trust/receipt.py, so that the two check each other; tests/vectors/receipt.json
 * holds what both must accept and refuse.
 */

export const PASSED = "PASSED";
export const FAILED = "FAILED";
export const NOT_CHECKED = "NOT_CHECKED";

const MAX_BYTES = 64 * 1024;
const MAX_ATTRIBUTES = 64;
const MAX_ATTRIBUTES_BYTES = 4096;
const HASH = /^[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]$/;
const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;
const KEY = /^[a-z][a-z0-9_]{0,31}$/;
const REFUSED = /[\u0000-\u001f\u007f-\u009f]|[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/;
const BLOCK_OF = "7ee64074";
const BATCH = 1;
const WITH_EVIDENCE = "voketag.receipt/v2";
const MAX_EVIDENCE = 8;

/** The text is no receipt in canonical form; the message says where and why. */
export class ReceiptMalformed extends Error {}

/** The chain gave no usable answer, so nothing is known. */
export class ChainUnreachable extends Error {}

/**
 * Reads a receipt: a string, or its bytes in UTF-8, of at most 64 KiB. White space around it is ignored.
 * Throws ReceiptMalformed.
 */
export function readReceipt(input) {
  const bytes = typeof input === "string" ? new TextEncoder().encode(input) : input;
  if (bytes.length > MAX_BYTES) throw new ReceiptMalformed(`receipt has more than ${MAX_BYTES} bytes`);
  let text, receipt;
  try {
    text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes).replace(/^[ \t\r\n]+|[ \t\r\n]+$/g, "");
    receipt = JSON.parse(text);
  } catch {
    throw new ReceiptMalformed("receipt is not JSON in UTF-8");
  }
  checkShape(receipt);
  if (canonical(receipt) !== text) throw new ReceiptMalformed("receipt is not in canonical form");
  return receipt;
}

/**
 * Checks a receipt that `readReceipt` gave, link by link; every link is tried, whatever came of those before.
 *
 * `chain` has `chainId()` and `blockOf(contract, root)`, as `jsonRpcChain` makes it; without it the last step is
 * NOT_CHECKED. `contract` is the address known to be VokeTag's: a receipt that names another fails. `others` are further
 * chains to ask for evidence; a step evidence_1 and so on follows for each piece, and time stamps (RFC 3161) are always
 * NOT_CHECKED here. `subtle` is WebCrypto's. Gives {steps: [{name, outcome}], valid, pending, failed, onChain}.
 */
export async function verifyReceipt(receipt, { chain, others = [], contract, subtle = globalThis.crypto.subtle } = {}) {
  const steps = [
    { name: "product_in_batch", outcome: await productInBatch(receipt, subtle) },
    { name: "batch_in_anchor", outcome: await batchInAnchor(receipt, subtle) },
    { name: "anchor_on_chain", outcome: await anchorOnChain(receipt, chain, contract) },
  ];
  const chains = chain === undefined ? others : [chain, ...others];
  for (const [place, part] of (receipt.evidence ?? []).entries()) {
    steps.push({ name: `evidence_${place + 1}`, outcome: await evidenceHolds(part, receipt.anchor, chains) });
  }
  const failed = steps.some((step) => step.outcome === FAILED);
  return {
    steps,
    failed,
    pending: receipt.chain === null,
    valid: !failed && steps.slice(0, 2).every((step) => step.outcome === PASSED),
    onChain: !failed && steps.slice(0, 3).every((step) => step.outcome === PASSED),
  };
}

/** An EVM chain behind a JSON-RPC endpoint; its methods throw ChainUnreachable. */
export function jsonRpcChain(url, { fetch = globalThis.fetch, timeoutMs = 10_000 } = {}) {
  async function call(method, params) {
    const request = {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ jsonrpc: "2.0", id: 1, method, params }),
      redirect: "error",
      referrerPolicy: "no-referrer",
      credentials: "omit",
      signal: AbortSignal.timeout(timeoutMs),
    };
    let answer;
    try {
      const response = await fetch(url, request);
      if (!response.ok) throw new ChainUnreachable(`the endpoint answered with HTTP status ${response.status}`);
      answer = await response.json();
    } catch (error) {
      if (error instanceof ChainUnreachable) throw error;
      throw new ChainUnreachable("the endpoint cannot be reached, or does not speak JSON-RPC");
    }
    if (answer === null || typeof answer !== "object" || answer.id !== 1) {
      throw new ChainUnreachable("the endpoint does not speak JSON-RPC");
    }
    return answer;
  }
  return {
    async chainId() {
      return quantity(result(await call("eth_chainId", [])));
    },
    async blockOf(contract, root) {
      const answer = await call("eth_call", [{ to: contract, data: `0x${BLOCK_OF}${hex(root)}` }, "latest"]);
      // A revert, or no bytes at all, is the chain's answer that there is no such contract at this address.
      const reverted = answer.error && (answer.error.code === 3 || String(answer.error.message).includes("revert"));
      if (reverted || result(answer) === "0x") return null;
      return quantity(answer.result) || null;
    },
  };
}

function result(answer) {
  if (answer.result === undefined) throw new ChainUnreachable("the endpoint answered with an error");
  return answer.result;
}

function quantity(value) {
  if (typeof value !== "string" || !/^0x[0-9a-fA-F]{1,64}$/.test(value)) {
    throw new ChainUnreachable("the endpoint answered something that is not a number");
  }
  return Number(BigInt(value));
}

async function productInBatch({ product, batch }, subtle) {
  const digest = await sha256(subtle, utf8(canonical(product.attributes)));
  const data = join(utf8("VTP\x01"), uuid(batch.id), uint64(batch.index), uuid(product.id), digest);
  return included(data, batch, subtle);
}

async function batchInAnchor({ batch, anchor }, subtle) {
  if (anchor === null) return NOT_CHECKED;
  const data = join(utf8("VTA\x01"), [BATCH], uuid(batch.id), uint64(batch.size), unhash(batch.root));
  return included(data, anchor, subtle);
}

async function included(data, { index, size, path, root }, subtle) {
  const place = { index: BigInt(index), size: BigInt(size), path: path.map(unhash), root: unhash(root) };
  return (await leadsTo(data, place, subtle)) ? PASSED : FAILED;
}

/** RFC 9162 2.1.3.2, for a leaf of these bytes: whether the path leads from there to the root. Numbers are BigInts. */
export async function leadsTo(data, { index, size, path, root }, subtle) {
  if (index >= size) return false;
  let [place, last] = [index, size - 1n];
  let node = await sha256(subtle, join([0], data));
  for (const sibling of path) {
    if (last === 0n) return false;
    if (place & 1n || place === last) {
      node = await sha256(subtle, join([1], sibling, node));
      while (!(place & 1n) && place !== 0n) [place, last] = [place >> 1n, last >> 1n];
    } else {
      node = await sha256(subtle, join([1], node, sibling));
    }
    [place, last] = [place >> 1n, last >> 1n];
  }
  return last === 0n && hex(node) === hex(root);
}

async function anchorOnChain({ anchor, chain: place }, chain, contract) {
  if (place === null) return NOT_CHECKED;
  if (contract !== undefined && contract.toLowerCase() !== place.contract) return FAILED;
  if (chain === undefined) return NOT_CHECKED;
  try {
    if ((await chain.chainId()) !== place.chain_id) return FAILED;
    return (await chain.blockOf(place.contract, unhash(anchor.root))) === place.block_number ? PASSED : FAILED;
  } catch (error) {
    if (error instanceof ChainUnreachable) return NOT_CHECKED;
    throw error;
  }
}

async function evidenceHolds(part, anchor, chains) {
  if (part.kind !== "evm") return NOT_CHECKED;
  try {
    for (const chain of chains) {
      if ((await chain.chainId()) !== part.chain_id) continue;
      return (await chain.blockOf(part.contract, unhash(anchor.root))) === part.block_number ? PASSED : FAILED;
    }
  } catch (error) {
    if (!(error instanceof ChainUnreachable)) throw error;
  }
  return NOT_CHECKED;
}

function checkShape(receipt) {
  const more = isObject(receipt) && receipt.type === WITH_EVIDENCE;
  fields(receipt, "receipt", ["anchor", "batch", "chain", "product", "state", "type", ...(more ? ["evidence"] : [])]);
  text(receipt.type, "receipt.type", /^voketag\.receipt\/v[12]$/);
  fields(receipt.product, "receipt.product", ["attributes", "id"]);
  text(receipt.product.id, "receipt.product.id", UUID);
  checkAttributes(receipt.product.attributes);
  checkTree(receipt.batch, "receipt.batch", ["id"]);
  text(receipt.batch.id, "receipt.batch.id", UUID);
  if (receipt.anchor !== null) checkTree(receipt.anchor, "receipt.anchor", []);
  if (receipt.chain !== null) {
    if (receipt.anchor === null) throw new ReceiptMalformed("receipt.anchor is null, but the receipt names a chain");
    checkPlace(receipt.chain, "receipt.chain");
  }
  if (more) checkEvidence(receipt);
  text(receipt.state, "receipt.state", receipt.chain === null ? /^PENDING$/ : /^FINAL$/);
}

function checkPlace(place, where) {
  fields(place, where, ["block_number", "chain_id", "contract", "kind", "transaction"]);
  text(place.kind, `${where}.kind`, /^evm$/);
  text(place.contract, `${where}.contract`, /^0x[0-9a-f]{40}$/);
  text(place.transaction, `${where}.transaction`, /^0x[0-9a-f]{64}$/);
  number(place.chain_id, `${where}.chain_id`);
  number(place.block_number, `${where}.block_number`);
}

function checkEvidence({ evidence, chain }) {
  const where = "receipt.evidence";
  if (!Array.isArray(evidence) || evidence.length === 0 || evidence.length > MAX_EVIDENCE) {
    throw new ReceiptMalformed(`${where} is not a list of 1 to ${MAX_EVIDENCE}`);
  }
  if (chain === null) throw new ReceiptMalformed(`${where} is without a chain`);
  for (const [place, part] of evidence.entries()) {
    if (!isObject(part) || part.kind !== "rfc3161") {
      checkPlace(part, `${where}[${place}]`);
      continue;
    }
    fields(part, `${where}[${place}]`, ["kind", "response"]);
    text(part.response, `${where}[${place}].response`, /^[A-Za-z0-9_-]+$/);
    if (!isCanonicalBase64(part.response)) throw new ReceiptMalformed(`${where}[${place}].response is not base64url`);
  }
}

/** Whether it is the one form that some bytes have: no spare bits are set. */
function isCanonicalBase64(value) {
  if (value.length % 4 === 1) return false;
  const standard = value.replaceAll("-", "+").replaceAll("_", "/");
  return btoa(atob(standard)).replace(/=+$/, "") === standard;
}

function checkTree(tree, where, more) {
  fields(tree, where, ["index", "path", "root", "size", ...more]);
  number(tree.index, `${where}.index`);
  number(tree.size, `${where}.size`);
  text(tree.root, `${where}.root`, HASH);
  if (!Array.isArray(tree.path)) throw new ReceiptMalformed(`${where}.path is not a list`);
  tree.path.forEach((hash, place) => text(hash, `${where}.path[${place}]`, HASH));
}

function checkAttributes(attributes) {
  const where = "receipt.product.attributes";
  if (!isObject(attributes)) throw new ReceiptMalformed(`${where} is not an object`);
  const entries = Object.entries(attributes);
  if (entries.length > MAX_ATTRIBUTES) throw new ReceiptMalformed(`${where} has more than ${MAX_ATTRIBUTES} entries`);
  for (const [key, value] of entries) {
    text(key, `a key of ${where}`, KEY);
    if (typeof value !== "string" || REFUSED.test(value) || value.normalize("NFC") !== value) {
      throw new ReceiptMalformed(`${where}.${key} is not text in NFC without control characters`);
    }
  }
  if (utf8(canonical(attributes)).length > MAX_ATTRIBUTES_BYTES) {
    throw new ReceiptMalformed(`${where} takes more than ${MAX_ATTRIBUTES_BYTES} bytes`);
  }
}

function isObject(value) {
  return value !== null && typeof value === "object" && !Array.isArray(value);
}

function fields(value, where, names) {
  if (!isObject(value)) throw new ReceiptMalformed(`${where} is not an object`);
  if (Object.keys(value).sort().join() !== [...names].sort().join()) {
    throw new ReceiptMalformed(`${where} does not have exactly the fields ${names.join(", ")}`);
  }
}

function text(value, where, pattern) {
  if (typeof value !== "string" || !pattern.test(value)) throw new ReceiptMalformed(`${where} is not of its form`);
}

function number(value, where) {
  if (!Number.isSafeInteger(value) || value < 0) throw new ReceiptMalformed(`${where} is not a whole number`);
}

/** RFC 8785, sound for the ASCII keys and whole numbers of a receipt. */
function canonical(value) {
  if (Array.isArray(value)) return `[${value.map(canonical).join(",")}]`;
  if (!isObject(value)) return JSON.stringify(value);
  const members = Object.keys(value).sort();
  return `{${members.map((key) => `${JSON.stringify(key)}:${canonical(value[key])}`).join(",")}}`;
}

async function sha256(subtle, bytes) {
  return new Uint8Array(await subtle.digest("SHA-256", bytes));
}

function join(...parts) {
  return Uint8Array.from(parts.flatMap((part) => [...part]));
}

function utf8(value) {
  return new TextEncoder().encode(value);
}

function uint64(value) {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(value));
  return bytes;
}

function uuid(value) {
  return Uint8Array.from(value.replaceAll("-", "").match(/../g), (pair) => parseInt(pair, 16));
}

function unhash(value) {
  return Uint8Array.from(atob(value.replaceAll("-", "+").replaceAll("_", "/")), (character) => character.charCodeAt(0));
}

function hex(bytes) {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
