// Reads {texts, chain, contract} on stdin; for each text gives what web/receipt.mjs says of it, offline and by the chain.
import { webcrypto } from "node:crypto";
import { readFileSync } from "node:fs";
import { ReceiptMalformed, readReceipt, verifyReceipt } from "../../../web/receipt.mjs";

const { texts, roots, chain_id, contract } = JSON.parse(readFileSync(0, "utf8"));
const subtle = webcrypto.subtle;
const base64url = (bytes) => Buffer.from(bytes).toString("base64url");
const chain = {
  chainId: async () => chain_id,
  blockOf: async (address, root) => (address === contract ? (roots[base64url(root)] ?? null) : null),
};

async function findings(encoded) {
  try {
    const receipt = readReceipt(Buffer.from(encoded, "base64"));
    return { offline: await verifyReceipt(receipt, { subtle }), asked: await verifyReceipt(receipt, { subtle, chain, contract }) };
  } catch (error) {
    if (error instanceof ReceiptMalformed) return { malformed: error.message };
    throw error;
  }
}

process.stdout.write(JSON.stringify(await Promise.all(texts.map(findings))));
