/* The playground's own files, run under node: reads a request (JSON) from stdin, writes the answer (JSON) to stdout. */
"use strict";
const fs = require("fs");
const vm = require("vm");
const zlib = require("zlib");

const [web, weights] = process.argv.slice(2);
for (const name of ["tokenizer", "model", "chat", "sampling"]) {
  vm.runInThisContext(fs.readFileSync(`${web}/${name}.js`, "utf8"), { filename: `${name}.js` });
}
const { readModelFile, Model, Tokenizer, chatParts, chatTokens, chooseToken, sampledFrom, seededRandom } =
  vm.runInThisContext("({ readModelFile, Model, Tokenizer, chatParts, chatTokens, chooseToken, sampledFrom, seededRandom })");

const load = (name) => {
  const held = zlib.gunzipSync(fs.readFileSync(`${weights}/${name}.bin`));
  return readModelFile(held.buffer.slice(held.byteOffset, held.byteOffset + held.length));
};
const write = (model, ids, settings, limit, random) => {
  const written = [];
  while (written.length < limit) {
    const id = chooseToken(model.logits([...ids, ...written]), settings, random);
    written.push(id);
    if (model.endIds.includes(id)) break;
  }
  return written;
};

const jobs = {
  tokens({ model, texts }) {
    const tokenizer = new Tokenizer(load(model).tokenizer);
    return texts.map((text) => {
      const ids = tokenizer.encode(text);
      return { ids, text: tokenizer.decode(ids), plain: tokenizer.decode(ids, true), shown: ids.map((id) => tokenizer.visible(id)) };
    });
  },
  chats({ model, conversations }) {
    const tokenizer = new Tokenizer(load(model).tokenizer);
    return conversations.map(({ messages, answer }) => ({
      text: chatParts(messages, answer).map((part) => part.text).join(""),
      tokens: chatTokens(tokenizer, messages, answer),
    }));
  },
  probs({ model, prompts, settings }) {
    const running = new Model(load(model));
    return prompts.map((ids) => Array.from(sampledFrom(running.logits(ids), settings)));
  },
  positions({ model, ids, from }) {
    return new Model(load(model)).logits(ids, from).map((row) => Array.from(sampledFrom(row)));
  },
  texts({ model, prompts, limit, settings, seed }) {
    const file = load(model);
    const running = new Model(file);
    return prompts.map((ids) => write(running, ids, settings, limit, seededRandom(seed)));
  },
  draws({ seeds, count }) {
    return seeds.map((seed) => { const random = seededRandom(seed); return Array.from({ length: count }, random); });
  },
  speed({ model, ids, tokens }) {
    const started = performance.now();
    const running = new Model(load(model));
    const loaded = performance.now();
    running.logits(ids);
    const first = performance.now();
    const written = ids.slice();
    for (let i = 0; i < tokens; i++) written.push(chooseToken(running.logits(written), { temperature: 0 }));
    return { load_ms: loaded - started, first_ms: first - loaded, tokens_per_second: (1000 * tokens) / (performance.now() - first) };
  },
};

const request = JSON.parse(fs.readFileSync(0, "utf8"));
process.stdout.write(JSON.stringify(jobs[request.job](request)));
