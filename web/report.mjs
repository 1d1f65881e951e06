/**
 * The consumer page's report: what the reader fills in goes to POST /api/fraud/report. Of a photo its SHA-256 and media
 * type are sent and nothing else. A report whose answer is lost goes out again under the same request id.
 */

const TYPES = ["image/jpeg", "image/png", "image/webp", "image/heic", "image/avif"];
const LARGEST_PHOTO = 64 * 1024 * 1024;
const CONTACT = /^([^\s@]+@[^\s@]+|\+?[0-9][0-9 ()./-]{4,38}[0-9])$/;
const CONTROLS = /[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f]/g;

const form = document.getElementById("report");
let last = { content: "", requestId: "" };

form.closest("details").hidden = false;
document.querySelector("[data-otherwise]").hidden = true;
// Without HTTPS there is no WebCrypto.
form.querySelector("[data-photo]").hidden = !globalThis.crypto?.subtle;
form.addEventListener("submit", (event) => {
  event.preventDefault();
  report();
});

async function report() {
  const button = form.querySelector("button");
  if (button.disabled) return;
  button.disabled = true;
  try {
    const found = faults();
    tell(found);
    if (found.length) return;
    const { caseId, fault } = await send();
    if (fault) return tell([fault]);
    const done = document.getElementById("reported");
    done.querySelector("[data-case]").textContent = caseId;
    form.hidden = true;
    done.hidden = false;
    done.focus();
  } finally {
    button.disabled = false;
  }
}

const text = () => form.elements.text.value.replace(CONTROLS, "").trim();
const contact = () => form.elements.contact.value.trim();
const photo = () => form.elements.photo.files[0];

/** The names of what is wrong with what was filled in. */
function faults() {
  const wrong = {
    kind: !form.elements.kind.value,
    text: !text(),
    contact: contact() !== "" && !CONTACT.test(contact()),
    photo: photo() && (!TYPES.includes(photo().type) || photo().size > LARGEST_PHOTO),
  };
  return Object.keys(wrong).filter((name) => wrong[name]);
}

/** Gives the case, or what went wrong. */
async function send() {
  try {
    const fields = { token: form.dataset.code, kind: form.elements.kind.value, text: text(), contact: contact() };
    if (photo()) fields.photo = { sha256: await sha256(photo()), mediaType: photo().type };
    const content = JSON.stringify(fields);
    if (content !== last.content) last = { content, requestId: uuid() };
    const body = JSON.stringify({ requestId: last.requestId, ...fields });
    const headers = { "content-type": "application/json" };
    const response = await fetch("/api/fraud/report", { method: "POST", headers, body, credentials: "omit" });
    if (response.ok) return await response.json();
    return { fault: { 400: "refused", 429: "limited" }[response.status] ?? "failed" };
  } catch {
    return { fault: "failed" };
  }
}

async function sha256(file) {
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", await file.arrayBuffer()));
  return btoa(String.fromCharCode(...digest));
}

/** `crypto.randomUUID` is not there without HTTPS. */
function uuid() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 0x0f) | 0x40;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const hex = [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
}

/** Shows what is wrong, each beside its field, and goes to the first of them. */
function tell(names) {
  for (const line of form.querySelectorAll("[data-fault]")) {
    line.hidden = !names.includes(line.dataset.fault);
    for (const field of form.querySelectorAll(`[name=${line.dataset.fault}]`)) {
      field.toggleAttribute("aria-invalid", false);
      if (!line.hidden) field.setAttribute("aria-invalid", "true");
    }
  }
  form.querySelector("[aria-invalid]")?.focus();
}
