// Reads {texts, keys} on stdin; for each text gives what web/logproof.mjs says of it.
import { webcrypto } from "node:crypto";
import { readFileSync } from "node:fs";
import { LogProofRefused, readScan, verifyLogProof } from "../../../web/logproof.mjs";

const { texts, keys } = JSON.parse(readFileSync(0, "utf8"));

async function finding(encoded) {
  try {
    const found = await verifyLogProof(Buffer.from(encoded, "base64"), keys, { subtle: webcrypto.subtle });
    return { origin: found.origin, index: Number(found.index), size: Number(found.size), ...readScan(found.entry) };
  } catch (error) {
    if (error instanceof LogProofRefused) return { refused: error.message };
    throw error;
  }
}

process.stdout.write(JSON.stringify(await Promise.all(texts.map(finding))));
