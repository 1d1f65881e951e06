/**
 * The consumer page's "check it in this browser": fetches the receipt, checks it with receipt.mjs, and shows the line
 * that the page already holds for each step's outcome. Without WebCrypto or script the form stays hidden.
 */

import { ReceiptMalformed, jsonRpcChain, readReceipt, verifyReceipt } from "./receipt.mjs";

const form = document.getElementById("check");
if (form && globalThis.crypto?.subtle) {
  form.hidden = false;
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    check();
  });
}

async function check() {
  const button = form.querySelector("button");
  button.disabled = true;
  show([]);
  try {
    show(await findings());
  } finally {
    button.disabled = false;
  }
}

/** The names of the lines to show. */
async function findings() {
  const endpoint = form.elements.endpoint.value.trim();
  let receipt;
  try {
    const response = await fetch(form.dataset.receipt, { credentials: "omit" });
    if (!response.ok) return ["unreachable"];
    receipt = readReceipt(new Uint8Array(await response.arrayBuffer()));
  } catch (error) {
    return [error instanceof ReceiptMalformed ? "malformed" : "unreachable"];
  }
  if (receipt.product.id !== form.dataset.product) return ["malformed"];
  const chain = endpoint ? jsonRpcChain(endpoint) : undefined;
  const found = await verifyReceipt(receipt, { chain });
  const lines = found.steps.map((step) => `${step.name.replace(/_[0-9]+$/, "")}.${step.outcome}`);
  if (!receipt.chain) return lines;
  for (const key of ["chain_id", "contract", "block_number"]) {
    form.querySelector(`[data-place=${key}]`).textContent = receipt.chain[key];
  }
  return [...lines, "place"];
}

function show(names) {
  for (const line of form.querySelectorAll("[data-line]")) line.hidden = !names.includes(line.dataset.line);
}
