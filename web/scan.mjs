/**
 * The consumer page's scan: once the page is seen it POSTs to /api/verify/{token}, and says what the answer says. One
 * opened page is one scan: `history.state` lasts over reload, back and forward, and is gone with the next navigation.
 * What a preview or a prerendered page never shows to anybody is no scan.
 */

const element = document.getElementById("told");
if (element) whenSeen(() => scan(JSON.parse(element.textContent)));

function whenSeen(act) {
  const again = () => whenSeen(act);
  if (document.prerendering) document.addEventListener("prerenderingchange", again, { once: true });
  else if (document.visibilityState === "hidden") document.addEventListener("visibilitychange", again, { once: true });
  else act();
}

async function scan(told) {
  if (history.state?.counted) return note(told.count === 1 ? ["first", "counted"] : ["counted"]);
  history.replaceState({ counted: true }, "");
  const { answer, problem } = await ask(told.code);
  if (answer) return say(answer, told);
  // As far as is known it is not counted: loading the page again repeats it.
  history.replaceState(null, "");
  note([problem]);
}

async function ask(code) {
  try {
    const headers = { "content-type": "application/json" };
    const response = await fetch(`/api/verify/${code}`, { method: "POST", headers, body: "{}", keepalive: true });
    if (response.ok) return { answer: await response.json() };
    return { problem: response.status === 429 ? "limited" : "failed" };
  } catch {
    return { problem: "failed" };
  }
}

function say(answer, told) {
  const face = told.faces[answer.verdict];
  // What this document has no place for is said by loading it again, and that is no scan.
  if ((face === "unknown") !== (told.face === "unknown") || (answer.product && !told.card)) return location.reload();
  document.body.className = face;
  document.title = `${told.texts[`verdict.${face}.title`]} · VokeTag`;
  for (const part of ["title", "lead", "advice"]) put(part, told.texts[`verdict.${face}.${part}`]);
  icon(document.querySelector("[data-say=icon]"), face);
  document.querySelector("[data-say=degraded]").hidden = !answer.degraded;
  for (const check of answer.checks) sayCheck(check, told.texts);
  if (face === "unknown") return;
  sayFound(answer, told);
  sayHistory(answer, told);
}

function sayCheck({ name, outcome }, texts) {
  const key = name.replace("CHECK_NAME_", "").toLowerCase();
  const mark = outcome.replace("CHECK_OUTCOME_", "").toLowerCase();
  const line = document.querySelector(`[data-check=${key}]`);
  line.className = mark;
  icon(line, mark);
  line.querySelector(".outcome").textContent = texts[`checks.${mark}`];
  line.querySelector("p").textContent = texts[`checks.${key}.${mark}`];
}

function sayFound(answer, told) {
  const factors = told.suspected.includes(told.faces[answer.verdict]) ? (answer.risk?.factors ?? []) : [];
  const lines = factors.filter((factor) => factor.score).map((factor) => {
    const name = factor.name.replace("RISK_FACTOR_NAME_", "").toLowerCase();
    const line = document.createElement("li");
    line.textContent = fill(told.texts[`risk.${name}.${factor.code}`], factor.evidence);
    return line;
  });
  const list = document.querySelector("[data-say=found]");
  list.replaceChildren(...lines);
  list.parentElement.hidden = !lines.length;
}

function sayHistory(answer, { texts, months }) {
  const first = answer.firstScannedAt && new Date(answer.firstScannedAt);
  show("history", [first ? "some" : "unknown"]);
  if (first) {
    put("count", answer.scanCount);
    put("scans", texts[answer.scanCount === 1 ? "history.one" : "history.other"]);
    put("first", date(first, texts.date, months)).dateTime = answer.firstScannedAt;
    put("region", answer.firstCountryCode ? `, ${answer.firstCountryCode}` : "");
  }
  if (!answer.recorded) note(["unrecorded"]);
  else note(answer.firstScan ? ["first", "counted"] : ["counted"]);
}

function date(at, form, months) {
  const two = (number) => String(number).padStart(2, "0");
  const time = `${two(at.getUTCHours())}:${two(at.getUTCMinutes())}`;
  return fill(form, { day: at.getUTCDate(), month: months[at.getUTCMonth()], year: at.getUTCFullYear(), time });
}

function fill(text, values) {
  return text.replace(/\{(\w+)\}/g, (_, name) => values[name]);
}

function put(name, text) {
  const place = document.querySelector(`[data-say=${name}]`);
  place.textContent = text;
  return place;
}

function icon(within, name) {
  within.querySelector("use").setAttribute("href", `#icon-${name}`);
}

function note(names) {
  show("note", names);
}

function show(kind, names) {
  for (const line of document.querySelectorAll(`[data-${kind}]`)) line.hidden = !names.includes(line.dataset[kind]);
}
