/* The search of the web edition. SECTIONS (from sections.js) has one entry per section of every page:
 * [file, place on the page, title of the page, heading, text]. A section is found if it holds every word that was asked
 * for, as a word or as the beginning of one; those with the words in a heading come first. */
"use strict";

const MOST = 60; // sections shown
const AROUND = 90; // characters of text on each side of the first hit

const field = document.getElementById("search-words");
const list = document.getElementById("search-results");
/* The words of what was typed; quotation marks are no part of any. */
const plain = (text) => text.replace(/["“”„«»]|(?<![\p{L}\p{N}])['‘’]|['‘’](?![\p{L}\p{N}])/gu, " ").trim();
const escaped = (word) => word.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
const beginning = (word) => new RegExp(/^[\p{L}\p{N}]/u.test(word) ? `(?<![\\p{L}\\p{N}])${escaped(word)}` : escaped(word), "giu");

function found(asked) {
  const words = asked.split(/\s+/).filter(Boolean).map(beginning);
  if (!words.length) return [];
  const phrase = new RegExp(asked.split(/\s+/).map(escaped).join("\\s+"), "iu");
  const scored = SECTIONS.map((section, order) => {
    const [, , title, heading, text] = section;
    const counts = words.map((word) => {
      const inText = (text.match(word) ?? []).length, inHeading = (heading.match(word) ?? []).length;
      const inTitle = (title.match(word) ?? []).length;
      return inText || inHeading ? 1 + Math.min(inText, 8) + 20 * inHeading + 5 * inTitle : 0;
    });
    const together = words.length > 1 && phrase.test(`${heading} ${text}`) ? 10 : 0;
    return { section, order, score: counts.every(Boolean) ? counts.reduce((sum, count) => sum + count, together) : 0 };
  });
  return scored.filter(({ score }) => score).sort((a, b) => b.score - a.score || a.order - b.order);
}

/* Text with every hit in a <mark>. */
function marked(text, words) {
  const all = new RegExp(words.map((word) => beginning(word).source).join("|"), "giu");
  const parts = [];
  let from = 0;
  for (const hit of text.matchAll(all)) {
    const mark = document.createElement("mark");
    mark.textContent = hit[0];
    parts.push(text.slice(from, hit.index), mark);
    from = hit.index + hit[0].length;
  }
  return [...parts, text.slice(from)];
}

function excerpt(text, words) {
  const first = Math.min(...words.map((word) => text.search(beginning(word))).map((at) => (at < 0 ? Infinity : at)));
  const start = first === Infinity ? 0 : text.lastIndexOf(" ", Math.max(0, first - AROUND)) + 1;
  const end = text.indexOf(" ", (first === Infinity ? 0 : first) + 2 * AROUND);
  return (start ? "… " : "") + (end < 0 ? text.slice(start) : text.slice(start, end) + " …");
}

function show() {
  const asked = plain(field.value), words = asked.split(/\s+/).filter(Boolean);
  const hits = found(asked);
  list.replaceChildren(...hits.slice(0, MOST).map(({ section: [file, place, title, heading, text] }) => {
    const item = document.createElement("li"), link = document.createElement("a");
    link.href = file + (place ? `#${place}` : "");
    link.append(...marked(heading, words));
    const where = document.createElement("span");
    where.className = "where";
    where.textContent = title === heading ? "" : title;
    const lines = document.createElement("p");
    lines.append(...marked(excerpt(text, words), words));
    item.append(link, " ", where, lines);
    return item;
  }));
  const more = hits.length > MOST ? `; the best ${MOST} are shown` : "";
  document.getElementById("search-status").textContent =
    !asked ? "" : hits.length ? `${hits.length} section${hits.length === 1 ? "" : "s"} found${more}.` : "Nothing found. Try fewer or shorter words.";
}

field.value = new URLSearchParams(location.search).get("q") ?? "";
field.addEventListener("input", show);
show();
