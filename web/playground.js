/* The page: what you type becomes token ids, both models answer with probabilities, and these become bars.
 *
 * `state` is all there is to remember, and it stands in the address, so a link holds it. Every change goes through
 * `change`, which keeps the state before it for Undo, shows the new one and asks the models.
 */
"use strict";

const SETTINGS = JSON.parse(document.getElementById("settings-data").textContent);
const START = {
  text: "", chat: true, system: "", user: "What is the capital of France?", answer: "",
  left: SETTINGS.pair[0], right: SETTINGS.pair[1], temperature: 0, topK: 0, topP: 1, seed: 0, limit: 64,
};
const FIELDS = ["text", "system", "user", "answer"];
const NUMBERS = ["temperature", "topK", "topP", "seed", "limit"];
const SIDES = ["left", "right"];
const SHOWN = 10; // tokens in the bars: the best of both models
const HATCHES = { "/": "slashes", ".": "dots", x: "crosses", "-": "dashes", "\\": "backslashes" };

const $ = (id) => document.getElementById(id);
const percent = (p) => (p >= 0.0995 ? (100 * p).toFixed(0) : p >= 0.0005 ? (100 * p).toFixed(1) : "<0.1") + "%";
const label = (side) => SETTINGS.models[state[side]].label;

/* An element with properties, attributes (after "@") and children. Text is never read as HTML. */
function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name[0] === "@") made.setAttribute(name.slice(1), value);
    else made[name] = value;
  }
  made.append(...children);
  return made;
}

// --- the models ----------------------------------------------------------------------------------------------------

/* The packed bytes of a model: out of this page, from the server, or from a script beside the page on disk. */
const received = {};
function receiveWeights(name, text) {
  received[name](Uint8Array.from(atob(text), (character) => character.charCodeAt(0)));
}

async function fetchWeights(name, progress) {
  const inside = $(`weights-${name}`);
  if (inside) return Uint8Array.from(atob(inside.textContent), (character) => character.charCodeAt(0));
  if (location.protocol === "file:") {
    return new Promise((resolve, reject) => {
      received[name] = resolve;
      const onerror = () => reject(new Error(`The file weights/${name}.js, which should lie beside this page, cannot be read.`));
      document.head.append(element("script", { src: `weights/${name}.js`, onerror }));
    });
  }
  const response = await fetch(`weights/${name}.bin`);
  if (!response.ok) throw new Error(`The server has no weights/${name}.bin (it answers ${response.status}).`);
  const parts = [];
  let size = 0;
  for (const reader = response.body.getReader(); ;) {
    const { done, value } = await reader.read();
    if (done) break;
    parts.push(value);
    progress((size += value.length));
  }
  return new Uint8Array(await new Blob(parts).arrayBuffer());
}

const packed = new Map(); // name → promise of bytes, so that a model is fetched once

/* One of the two places: a thread with a model in it. The thread is made of the scripts that this page holds. */
class Place {
  constructor() {
    const scripts = [...document.querySelectorAll("script[data-worker]")].map((script) => script.textContent);
    this.worker = new Worker(URL.createObjectURL(new Blob(scripts, { type: "text/javascript" })));
    this.waiting = new Map();
    this.worker.onmessage = ({ data }) => {
      const { resolve, reject } = this.waiting.get(data.id);
      this.waiting.delete(data.id);
      data.error ? reject(new Error(data.error)) : resolve(data);
    };
    this.name = null; // which model is in it
    this.asked = 0;
  }

  ask(request) {
    return new Promise((resolve, reject) => {
      this.waiting.set(++this.asked, { resolve, reject });
      this.worker.postMessage({ id: this.asked, ...request });
    });
  }

  /* Loads a model and returns the file's header: config, tokenizer, ids that end a text. */
  async load(name, progress) {
    if (!packed.has(name)) packed.set(name, fetchWeights(name, progress));
    let bytes;
    try {
      bytes = await packed.get(name);
    } catch (error) {
      packed.delete(name); // so that it can be tried again
      throw error;
    }
    this.header = (await this.ask({ bytes })).header;
    this.name = name;
  }

  async logits(ids, from) {
    return (await this.ask({ ids, from })).logits;
  }
}

const places = { left: new Place(), right: new Place() };
let tokenizer = null;

async function loadModels() {
  const wanted = SIDES.filter((side) => places[side].name !== state[side]);
  if (!wanted.length) return;
  $("loading").hidden = false;
  const got = {}, all = wanted.reduce((sum, side) => sum + SETTINGS.models[state[side]].bytes, 0);
  const show = () => {
    const sum = Object.values(got).reduce((a, b) => a + b, 0);
    $("progress").value = sum / all;
    $("loading-text").textContent = `Loading the models: ${(sum / 1e6).toFixed(1)} of ${(all / 1e6).toFixed(1)} MB`;
  };
  show();
  await Promise.all(wanted.map(async (side) => {
    await places[side].load(state[side], (bytes) => { got[side] = bytes; show(); });
    tokenizer ??= new Tokenizer(places[side].header.tokenizer); // all of Pebble's models have the same
    await readAhead(side);
  }));
  $("loading").hidden = true;
  performance.mark("models loaded"); // the benchmark reads these marks
}

/* JavaScript runs slowly until the engine has compiled what it sees repeated. So a model reads the prompt once while the
 * page still says that it is loading; the keys and values that it leaves need not be computed again. */
async function readAhead(side) {
  const ids = tokensNow().map((token) => token.id);
  if (ids.length <= places[side].header.config.max_position_embeddings) await places[side].logits(ids);
}

// --- the state -----------------------------------------------------------------------------------------------------

/* What of the state is not as at the start, as an address's fragment; and back. What does not fit is left out. */
function toFragment(from) {
  const told = Object.entries(from).filter(([name, value]) => value !== START[name]);
  return new URLSearchParams(told.map(([name, value]) => [name, value === true ? "1" : value === false ? "0" : String(value)])).toString();
}

function fromFragment(fragment) {
  const read = { ...START };
  for (const [name, text] of new URLSearchParams(fragment)) {
    if (FIELDS.includes(name)) read[name] = text;
    else if (name === "chat") read.chat = text === "1";
    else if (SIDES.includes(name) && SETTINGS.models[text]) read[name] = text;
    else if (NUMBERS.includes(name)) read[name] = bounded(name, Number(text));
  }
  return read;
}

function bounded(name, value) {
  const box = $(name);
  if (!Number.isFinite(value)) return START[name];
  return Math.min(Number(box.max), Math.max(Number(box.min), box.step === "1" ? Math.round(value) : value));
}

/* A link holds the state after its #; a page that shows this one in a frame may put it after the ? as well. */
let state = fromFragment(location.hash.slice(1) || location.search.slice(1));
let example = null; // the one that was clicked last, until something is typed
const past = [];
let writeNext = false; // whether both write as soon as the bars are there: after an example, not while somebody types
let typing = null; // the field being typed into: a run of keystrokes is one step to undo

function change(part, { typed = null, chosen = null, write = false } = {}) {
  if (typed === null || typed !== typing) past.push(state);
  if (past.length > 200) past.shift();
  typing = typed;
  state = { ...state, ...part };
  example = chosen;
  writeNext = write;
  update();
}

/* Everything on the page that depends on the state. */
function update() {
  try {
    // No empty fragment: it means the top of the page, and a browser scrolls the page around a frame there.
    const told = toFragment(state);
    if (told || location.hash) history.replaceState(null, "", location.pathname + location.search + (told && `#${told}`));
  } catch {
    // Some browsers forbid it for files; then only "Copy link" knows the state.
  }
  showControls();
  stopWriting();
  clearWritten();
  refresh();
}

function showControls() {
  $("chat").checked = state.chat;
  $("plain-fields").hidden = state.chat;
  $("chat-fields").hidden = !state.chat;
  for (const name of FIELDS) {
    if ($(name).value !== state[name]) $(name).value = state[name];
    fit($(name));
  }
  for (const name of NUMBERS) if (Number($(name).value) !== state[name] || $(name).value === "") $(name).value = state[name];
  $("temperature-shown").textContent = state.temperature === 0 ? "0: the likeliest" : state.temperature.toFixed(1);
  $("topK-shown").textContent = state.topK === 0 ? "0: all tokens" : `the best ${state.topK}`;
  $("topP-shown").textContent = state.topP === 1 ? "1: all tokens" : state.topP.toFixed(2);
  for (const name of ["topK", "topP", "seed"]) $(name).disabled = state.temperature === 0;
  $("undo").disabled = past.length === 0;
  for (const side of SIDES) {
    $(side).value = state[side];
    const { color, hatch } = SETTINGS.models[state[side]];
    document.documentElement.style.setProperty(`--${side}`, color);
    document.documentElement.dataset[side] = HATCHES[hatch] ?? "";
    for (const place of document.querySelectorAll(`.name-${side}`)) place.textContent = label(side);
  }
  [...$("examples").children].forEach((button, i) => button.setAttribute("aria-pressed", String(SETTINGS.examples[i] === example)));
  showLook();
}

/* A box grows with its text. */
function fit(box) {
  box.style.height = "auto";
  if (box.scrollHeight) box.style.height = `${box.scrollHeight + 2}px`;
}

function showLook() {
  $("look").replaceChildren();
  $("look").hidden = !example;
  if (!example) return;
  const where = example.link ? element("a", { href: example.link, target: "_top" }, example.where) : example.where;
  $("look").append(element("b", {}, "Look: "), example.look, " ", element("span", { className: "where" }, "→ ", where));
}

/* The tokens that both models read: [{ id, role }]; without a template no role. */
function tokensNow() {
  if (!state.chat) return tokenizer.encode(state.text).map((id) => ({ id, role: null }));
  const messages = [{ role: "user", content: state.user }];
  if (state.system) messages.unshift({ role: "system", content: state.system });
  return chatTokens(tokenizer, messages, state.answer);
}

// --- the next token ------------------------------------------------------------------------------------------------

let refreshing = false, stale = false;

/* Asks both models about the state as it is. While they are still busy with an older one, the newest waits. */
async function refresh() {
  if (refreshing) {
    stale = true;
    return;
  }
  refreshing = true;
  do {
    stale = false;
    try {
      await loadModels();
      const asked = state, tokens = tokensNow();
      showRibbon(tokens);
      const context = places.left.header.config.max_position_embeddings;
      if (tokens.length > context) throw new Error(`These are ${tokens.length} tokens, and the models see at most ${context} at once. Shorten the text.`);
      const ids = tokens.map((token) => token.id);
      const logits = await Promise.all(SIDES.map((side) => places[side].logits(ids)));
      showBars(logits.map((row) => sampledFrom(row, asked)));
      showTrouble(null);
      $("write").disabled = false;
      if (writeNext && !stale) {
        writeNext = false;
        writeBoth();
      }
    } catch (error) {
      showTrouble(error);
    }
  } while (stale);
  refreshing = false;
}

function showTrouble(error) {
  $("trouble").hidden = !error;
  $("trouble").textContent = error ? error.message : "";
  if (error) $("loading").hidden = $("bars").hidden = $("write").disabled = true;
  for (const name of ["bars-note", "numbers-part"]) $(name).hidden = $("bars").hidden; // they are about the bars
}

function showRibbon(tokens) {
  const context = places.left.header.config.max_position_embeddings;
  $("count").textContent = `${tokens.length} of at most ${context} tokens`;
  const groups = [];
  for (const token of tokens) {
    if (!groups.length || groups.at(-1).role !== token.role) groups.push({ role: token.role, chips: [] });
    const special = tokenizer.specialIds.has(token.id);
    const spoken = (special ? "special token " : "") + tokenizer.visible(token.id) + `, id ${token.id}`;
    groups.at(-1).chips.push(element("span",
      { className: special ? "token special" : "token", title: `id ${token.id}`, "@role": "listitem", "@aria-label": spoken },
      tokenizer.visible(token.id)));
  }
  $("ribbon").replaceChildren(...groups.map(({ role, chips }) => {
    if (role === null) return element("span", { className: "turn bare", "@role": "presentation" }, ...chips);
    const name = element("span", { className: "role", "@role": "listitem" }, role);
    return element("span", { className: `turn ${role.replace(" ", "-")}`, "@role": "presentation" }, name, ...chips);
  }));
}

/* The best tokens of both models with both probabilities on one axis. Rows stay in place, and so does the focus. */
function showBars(probs) {
  const best = new Set(probs.flatMap((row) => bestTokens(row, SHOWN)));
  const ids = [...best].sort((a, b) => Math.max(probs[0][b], probs[1][b]) - Math.max(probs[0][a], probs[1][a])).slice(0, SHOWN);
  const most = Math.max(...ids.map((id) => Math.max(probs[0][id], probs[1][id])));
  const axis = [0.1, 0.2, 0.5].find((end) => most <= end) ?? 1;
  $("bars").hidden = false;
  $("bars").style.setProperty("--axis", 1 / axis);
  if (!$("bars").children.length) {
    const heads = ["Next token", "", ""].map((text) => element("span", { "@role": "columnheader" }, text));
    $("bars").append(element("div", { className: "bar-row hidden", "@role": "row" }, ...heads), element("div", { className: "scale", "@aria-hidden": "true" }));
    for (let i = 0; i < SHOWN; i++) $("bars").append(barRow());
  }
  const [head, scale, ...rows] = $("bars").children;
  SIDES.forEach((side, i) => (head.children[i + 1].textContent = `${label(side)}, ${i ? "right" : "left"}`));
  scale.replaceChildren(...[0, 0.5, 1].map((part) => element("span", {}, `${+(100 * part * axis).toFixed(1)}%`)));
  rows.forEach((row, i) => {
    row.hidden = i >= ids.length;
    if (!row.hidden) fillRow(row, ids[i], probs);
  });
  $("bars-note").textContent = state.temperature === 0
    ? "Each model's own probabilities. Click a token to append it."
    : "Probabilities after temperature, top-k and top-p. Click a token to append it.";
  showNumbers(ids, probs);
  performance.mark("bars shown");
}

function barRow() {
  const button = element("button", { type: "button", className: "token" });
  button.addEventListener("click", () => append(Number(button.dataset.id)));
  const bar = (side) => element("div", { className: `bar of-${side}`, "@role": "cell" }, element("i", { "@aria-hidden": "true" }), element("span"));
  return element("div", { className: "bar-row", "@role": "row" },
    element("div", { className: "cell", "@role": "rowheader" }, button),
    element("div", { className: "both", "@role": "presentation" }, ...SIDES.map(bar)));
}

function fillRow(row, id, probs) {
  const button = row.querySelector("button");
  button.dataset.id = id;
  button.textContent = tokenizer.visible(id);
  button.classList.toggle("special", tokenizer.specialIds.has(id));
  button.disabled = tokenizer.decode([id]).includes("\ufffd");
  button.title = button.disabled ? "part of a character, which cannot be typed alone" : `append it (id ${id})`;
  row.querySelectorAll(".bar").forEach((bar, i) => {
    bar.style.setProperty("--p", probs[i][id]);
    bar.querySelector("span").textContent = percent(probs[i][id]);
  });
}

function showNumbers(ids, probs) {
  const head = ["token", "id", ...SIDES.flatMap((side) => [`P, ${label(side)}`, `rank, ${label(side)}`])];
  const rows = ids.map((id) => {
    const cells = [id, ...probs.flatMap((row) => [row[id].toFixed(4), rankOf(row, id)])];
    return element("tr", {}, element("th", { scope: "row" }, tokenizer.visible(id)), ...cells.map((cell) => element("td", {}, String(cell))));
  });
  $("numbers").replaceChildren(
    element("thead", {}, element("tr", {}, ...head.map((name) => element("th", { scope: "col" }, name)))),
    element("tbody", {}, ...rows));
}

function append(id) {
  const field = state.chat ? "answer" : "text";
  change({ [field]: state[field] + tokenizer.decode([id]) });
}

// --- writing to the end --------------------------------------------------------------------------------------------

let writing = 0; // the number of the run; one that finds another number here stops

function stopWriting() {
  writing++;
  $("write").textContent = "Write both to the end";
}

/* What was written belongs to the prompt before. */
function clearWritten() {
  for (const side of SIDES) {
    $(`written-${side}`).textContent = "";
    $(`ending-${side}`).textContent = "Nothing yet.";
  }
  $("written-status").textContent = "";
  $("map-part").hidden = true;
}

async function writeBoth() {
  if ($("write").textContent === "Stop") return stopWriting();
  stopWriting();
  const run = writing, asked = state;
  $("write").textContent = "Stop";
  clearWritten();
  $("written-status").textContent = "Both models are writing.";
  try {
    const prompt = tokensNow().map((token) => token.id);
    const written = await Promise.all(SIDES.map((side) => writeOne(side, prompt, asked, run)));
    if (run !== writing) return;
    stopWriting();
    $("written-status").textContent = SIDES.map((side, i) =>
      `${label(side)}: ${tokenizer.decode(written[i].ids, true)} ${$(`ending-${side}`).textContent}`).join(" ");
    await showMap(prompt, written[1]);
  } catch (error) {
    showTrouble(error);
  }
}

/* Lets the model of one place write; shows every token as it comes. Returns the ids and, for each, P(it) and P(end). */
async function writeOne(side, prompt, settings, run) {
  const place = places[side], random = seededRandom(settings.seed), { end_ids, config } = place.header;
  const room = Math.min(settings.limit, config.max_position_embeddings - prompt.length);
  const ids = [], scores = [], started = performance.now();
  const speed = () => `${counted(ids.length)}, ${Math.round((1000 * ids.length) / (performance.now() - started))} per second`;
  const show = (ending) => {
    $(`written-${side}`).textContent = tokenizer.decode(ids, true);
    $(`ending-${side}`).replaceChildren(...ending);
  };
  show(["writing …"]);
  while (ids.length < room) {
    const logits = await place.logits([...prompt, ...ids]);
    if (run !== writing) {
      show([`… stopped after ${counted(ids.length)}`]);
      return { ids, scores };
    }
    const id = chooseToken(logits, settings, random);
    scores.push(scored(logits, id, end_ids));
    ids.push(id);
    if (end_ids.includes(id)) {
      show([element("span", { className: "token special" }, tokenizer.visible(id)), ` ended by the model after ${speed()}`]);
      return { ids, scores };
    }
    show(["writing …"]);
  }
  show([`… cut off by the page after ${speed()}`]);
  return { ids, scores };
}

const counted = (n) => `${n} token${n === 1 ? "" : "s"}`;

/* What a model holds of one token, and of the text ending here. */
function scored(logits, id, endIds) {
  const probs = sampledFrom(logits);
  return { prob: probs[id], rank: rankOf(logits, id), end: endIds.reduce((sum, end) => sum + probs[end], 0) };
}

/* The token-shift map (Lin et al. 2023): every token of the right model's text, with its rank under the left one. "The
 * end" is what ends the right model's text, for both: the left one may know another. */
async function showMap(prompt, { ids, scores }) {
  if (!ids.length) return;
  const run = writing, ends = places.right.header.end_ids;
  const rows = await places.left.logits([...prompt, ...ids.slice(0, -1)], prompt.length - 1);
  if (run !== writing) return;
  const under = ids.map((id, i) => scored(rows[i], id, ends));
  const kind = (rank) => (rank === 1 ? "unshifted" : rank <= 3 ? "marginal" : "shifted");
  const counts = {};
  $("map").replaceChildren(...ids.map((id, i) => {
    const { color, ink, glyph } = SETTINGS.shift[kind(under[i].rank)];
    counts[kind(under[i].rank)] = (counts[kind(under[i].rank)] ?? 0) + 1;
    const spoken = `${tokenizer.visible(id)}: rank ${under[i].rank} under ${label("left")}, ${kind(under[i].rank)}; ` +
      `probability of an end here: ${label("left")} ${percent(under[i].end)}, ${label("right")} ${percent(scores[i].end)}`;
    const chip = element("span", { className: "token" + (tokenizer.specialIds.has(id) ? " special" : "") }, tokenizer.visible(id));
    chip.style.background = color;
    chip.style.color = ink;
    const ends = element("span", { className: "ends", "@aria-hidden": "true" }, ...[under[i].end, scores[i].end].map((p, s) => {
      const column = element("i", { className: `of-${SIDES[s]}` });
      column.style.setProperty("--p", p);
      return column;
    }));
    return element("span", { className: "place", title: spoken, "@role": "listitem", "@aria-label": spoken },
      chip, element("small", { "@aria-hidden": "true" }, `${glyph} ${under[i].rank}`), ends);
  }));
  const legend = Object.entries(SETTINGS.shift).map(([name, { color, ink, glyph, meaning }]) => {
    const mark = element("i", { className: "class" }, glyph);
    mark.style.background = color;
    mark.style.color = ink;
    return element("span", {}, mark, ` ${meaning.replace("the base", label("left"))}: ${counts[name] ?? 0} of ${ids.length}`);
  });
  const bars = SIDES.map((side) => element("span", {}, element("i", { className: `swatch ${side}` }), ` P(end), ${label(side)}`));
  $("map-legend").replaceChildren(...legend, ...bars);
  $("map-part").hidden = false;
}

// --- start ---------------------------------------------------------------------------------------------------------

function connect() {
  for (const name of FIELDS) {
    $(name).addEventListener("input", () => change({ [name]: $(name).value }, { typed: name }));
    $(name).addEventListener("keydown", writeOnEnter);
  }
  for (const name of NUMBERS) {
    $(name).addEventListener("input", () => {
      if ($(name).value !== "") change({ [name]: bounded(name, Number($(name).value)) }, { typed: name, chosen: example });
    });
    $(name).addEventListener("change", showControls);
  }
  $("chat").addEventListener("change", toggleChat);
  $("undo").addEventListener("click", () => {
    state = past.pop();
    typing = example = null;
    update();
    if ($("undo").disabled) $(state.chat ? "user" : "text").focus();
  });
  $("write").addEventListener("click", writeBoth);
  $("copy").addEventListener("click", copyLink);
  for (const side of SIDES) {
    $(side).append(...Object.entries(SETTINGS.models).map(([name, { about }]) => element("option", { value: name }, about)));
    $(side).addEventListener("change", () => change({ [side]: $(side).value }, { chosen: example }));
  }
  $("examples").append(...SETTINGS.examples.map((one) => {
    const button = element("button", { type: "button", className: "chip" }, one.name);
    button.addEventListener("click", () => {
      const { left, right } = state;
      change({ ...START, chat: false, user: "", left, right, ...one.state }, { chosen: one, write: true });
    });
    return button;
  }));
  window.addEventListener("hashchange", () => {
    const told = fromFragment(location.hash.slice(1));
    if (toFragment(told) !== toFragment(state)) change(told);
  });
  window.addEventListener("resize", () => FIELDS.forEach((name) => fit($(name))));
}

/* Enter sends what the user says, as in a chat (with Shift it makes a line); Ctrl or Cmd with it, every field. */
function writeOnEnter(event) {
  const wanted = event.ctrlKey || event.metaKey || (event.target.id === "user" && !event.shiftKey);
  if (event.key !== "Enter" || event.isComposing || !wanted) return;
  event.preventDefault();
  if (event.repeat) return;
  typing = null; // what is typed next is another step to undo
  if (refreshing) writeNext = true; // as soon as the bars of this text are there
  else if (!$("write").disabled) {
    stopWriting(); // so that it starts anew
    writeBoth();
  }
}

/* With the template on, the text becomes the user's message, if there is none yet; off, the other way round. */
function toggleChat() {
  const chat = $("chat").checked;
  const how = { write: $("written-left").textContent !== "" }; // what was written is written anew, to compare
  if (chat && !state.user) change({ chat, user: state.text }, how);
  else if (!chat && !state.text) change({ chat, text: state.user }, how);
  else change({ chat }, how);
}

async function copyLink() {
  const link = location.href.split("#")[0] + "#" + toFragment(state);
  try {
    await navigator.clipboard.writeText(link);
    $("copy").textContent = "Copied";
  } catch {
    window.prompt("Copy this link:", link); // a page from disk may not write to the clipboard
  }
  setTimeout(() => ($("copy").textContent = "Copy link"), 2000);
}

/* What was recorded of a real model, with its source (tools/playground.py reads it from docs/real_pairs/). */
function showReal() {
  const { real } = SETTINGS;
  $("real").hidden = !real;
  if (!real) return;
  $("real-text").textContent = real.text;
  $("real-figures").append(...real.figures.map(({ what, figure }) => element("li", {}, `${what}: `, element("b", {}, figure))));
  const more = real.link ? element("a", { href: real.link, target: "_top" }, real.source) : real.source;
  $("real-source").append(real.how, " Recorded in ", more, ".");
}

/* Light, dark, or as the system is: kept under the name that the lessons' pages use. */
function theme() {
  let chosen = null; // where a page may keep nothing, the choice holds for this page
  const kept = () => {
    try {
      return chosen ?? localStorage.getItem("theme") ?? "auto";
    } catch {
      return "auto";
    }
  };
  const dark = () => (kept() === "auto" ? matchMedia("(prefers-color-scheme: dark)").matches : kept() === "dark");
  const show = () => (document.documentElement.dataset.theme = dark() ? "dark" : "light");
  show();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", show);
  window.addEventListener("storage", show); // the page around this one, or another tab
  $("theme").addEventListener("click", () => {
    chosen = dark() ? "light" : "dark";
    try {
      localStorage.setItem("theme", chosen);
      chosen = null;
    } catch {
      // `chosen` remembers it.
    }
    show();
  });
}

if (SETTINGS.home) $("home").href = SETTINGS.home;
/* ?inside: without what a page around it says already; ?small: without examples and knobs, for a place in a lesson. */
for (const way of ["inside", "small"]) {
  document.documentElement.classList.toggle(way, new URLSearchParams(location.search).has(way));
}
if (parent !== window) {
  new ResizeObserver(() => parent.postMessage({ playgroundHeight: document.body.scrollHeight }, "*")).observe(document.body);
}
theme();
connect();
example = toFragment(state) ? null : (SETTINGS.examples.find((one) => one.state.user === START.user) ?? null);
writeNext = example !== null;
showReal();
update();
