/* Text to token ids and back: byte-level BPE, as tokenizer.json describes it.
 *
 * Four steps, each a few lines below:
 *   1. special tokens such as <|im_end|> are cut out of the text: each is one id;
 *   2. a regular expression cuts the rest into pieces, roughly words with the space before them;
 *   3. a piece becomes UTF-8 bytes, and each byte is written as one visible character (a space is Ġ);
 *   4. neighbours are merged, always the pair that was learned first, until no known pair is left.
 */
"use strict";

/* GPT-2's characters for the 256 bytes: what is visible in Latin-1 stands for itself, the rest for U+0100 and on. */
function byteAlphabet() {
  const visible = (byte) => (byte > 0x20 && byte < 0x7f) || (byte > 0xa0 && byte < 0xad) || byte > 0xad;
  let hidden = 0;
  return Array.from({ length: 256 }, (_, byte) =>
    String.fromCharCode(visible(byte) ? byte : 0x100 + hidden++));
}

/* The pattern was written for Rust; JavaScript's \s knows other characters, so white space is named by its property. */
function javascriptPattern(pattern) {
  const named = pattern.replaceAll("\\s", "\\p{White_Space}").replaceAll("\\S", "\\P{White_Space}");
  return new RegExp(named, "gu");
}

function escapedForPattern(text) {
  return text.replace(/[\\^$.*+?()[\]{}|/-]/g, "\\$&");
}

class Tokenizer {
  /* `file` is tokenizer.json, parsed. Throws where the file asks for something that is not written here. */
  constructor(file) {
    const [split, bytes] = file.pre_tokenizer?.pretokenizers ?? [];
    const known =
      file.model.type === "BPE" && file.normalizer === null && split?.pattern?.Regex &&
      split.behavior === "Isolated" && !split.invert && bytes?.type === "ByteLevel" &&
      !bytes.add_prefix_space && !bytes.use_regex && file.pre_tokenizer.pretokenizers.length === 2;
    if (!known) throw new Error("This tokenizer.json is no byte-level BPE with one splitting pattern; only that is known here.");

    this.pattern = javascriptPattern(split.pattern.Regex);
    this.idOf = new Map(Object.entries(file.model.vocab));
    this.rankOf = new Map(file.model.merges.map((pair, rank) => [pair.join(" "), rank]));
    this.alphabet = byteAlphabet();
    this.byteOf = new Map(this.alphabet.map((character, byte) => [character, byte]));
    this.pieceOf = [];
    for (const [piece, id] of this.idOf) this.pieceOf[id] = piece;

    this.added = new Map(file.added_tokens.map((token) => [token.content, token.id]));
    this.specialIds = new Set(file.added_tokens.filter((token) => token.special).map((token) => token.id));
    for (const [piece, id] of this.added) this.pieceOf[id] = piece;
    const longestFirst = [...this.added.keys()].sort((a, b) => b.length - a.length).map(escapedForPattern);
    this.addedPattern = longestFirst.length ? new RegExp(longestFirst.join("|"), "g") : /(?!)/g;

    // What stands before every plain text: the BOS, if this tokenizer writes one.
    const before = file.post_processor?.single ?? [];
    this.bos = before[0]?.SpecialToken ? [this.added.get(before[0].SpecialToken.id)] : [];
    this.cache = new Map();
  }

  /* The ids of a text. `addSpecial` puts the BOS in front, as tokenizer(text) does in Python. */
  encode(text, addSpecial = true) {
    return this.encodeWithPlaces(text, addSpecial).map((token) => token.id);
  }

  /* The same with `at`: where in the text the token's piece begins (null for a BOS that stands in no text). */
  encodeWithPlaces(text, addSpecial = true) {
    const tokens = addSpecial ? this.bos.map((id) => ({ id, at: null })) : [];
    const plain = (start, end) => {
      for (const match of text.slice(start, end).matchAll(this.pattern)) {
        for (const id of this.encodePiece(match[0])) tokens.push({ id, at: start + match.index });
      }
    };
    let start = 0;
    for (const match of text.matchAll(this.addedPattern)) {
      plain(start, match.index);
      tokens.push({ id: this.added.get(match[0]), at: match.index });
      start = match.index + match[0].length;
    }
    plain(start, text.length);
    return tokens;
  }

  /* Steps 3 and 4 for one piece of text. */
  encodePiece(piece) {
    const before = this.cache.get(piece);
    if (before) return before;
    let parts = Array.from(new TextEncoder().encode(piece), (byte) => this.alphabet[byte]);
    while (parts.length > 1) {
      let best = Infinity, place = -1;
      for (let i = 0; i + 1 < parts.length; i++) {
        const rank = this.rankOf.get(parts[i] + " " + parts[i + 1]) ?? Infinity;
        if (rank < best) [best, place] = [rank, i];
      }
      if (place < 0) break;
      parts.splice(place, 2, parts[place] + parts[place + 1]);
    }
    const ids = parts.map((part) => this.idOf.get(part));
    if (this.cache.size > 10000) this.cache.clear();
    this.cache.set(piece, ids);
    return ids;
  }

  /* The text of ids. Half a character, which a token may well be, becomes the replacement character U+FFFD. */
  decode(ids, skipSpecial = false) {
    const bytes = [];
    for (const id of ids) {
      if (skipSpecial && this.specialIds.has(id)) continue;
      for (const character of this.pieceOf[id] ?? "") bytes.push(this.byteOf.get(character));
    }
    return new TextDecoder("utf-8", { ignoreBOM: true }).decode(Uint8Array.from(bytes));
  }

  /* One token as a reader should see it: ␣ for a space, ↵ for a line break, ⟨0xE2⟩ for part of a character. */
  visible(id) {
    const piece = this.pieceOf[id];
    if (piece === undefined) return `⟨unused ${id}⟩`;
    const text = this.decode([id]);
    if (text.includes("\ufffd")) {
      const hex = (byte) => byte.toString(16).toUpperCase().padStart(2, "0");
      return Array.from(piece, (c) => `⟨0x${hex(this.byteOf.get(c))}⟩`).join("");
    }
    const shown = { " ": "␣", "\n": "↵", "\t": "⇥", "\r": "␍", "\u00a0": "⍽" };
    const named = (c) => `⟨U+${c.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}⟩`;
    return Array.from(text, (c) => shown[c] ?? (/[\p{C}\p{Zl}\p{Zp}]/u.test(c) ? named(c) : c)).join("") || "∅";
  }
}
