/* A Llama-style language model: token ids in, a score (logit) for every token of the vocabulary out.
 *
 * `Model.logits(ids)` is the whole of it. A token is a row of the embedding; each layer adds to it what attention finds
 * in the tokens before, then what a small network makes of it; the last row is compared with every row of the
 * embedding again. Vectors are `hidden` numbers long; n tokens are n rows of one Float32Array.
 */
"use strict";

/* Reads what tools/playground.py wrote: 4 bytes with the header's length, the header (JSON), then for all weights
 * together one byte each of exponent and one byte each of sign and fraction. Together they are the bfloat16 numbers of
 * the checkpoint, bit for bit; apart they pack better. */
function readModelFile(buffer) {
  const size = new DataView(buffer).getUint32(0, true);
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, size)));
  const exponents = new Uint8Array(buffer, 4 + size, header.count);
  const fractions = new Uint8Array(buffer, 4 + size + header.count, header.count);
  const bits = new Uint32Array(header.count);
  for (let i = 0; i < bits.length; i++) {
    const f = fractions[i]; // sign in the highest bit, fraction in the other seven
    bits[i] = ((f & 0x80) << 24) | (exponents[i] << 23) | ((f & 0x7f) << 16);
  }
  const numbers = new Float32Array(bits.buffer);
  const tensors = {};
  for (const { name, start, length } of header.tensors) tensors[name] = numbers.subarray(start, start + length);
  return { ...header, tensors };
}

/* out[t] = w · x[t] for n rows x[t] of `width` numbers; w has `height` rows. Nearly all the time is spent here. It would
 * be three short loops; but a weight read from memory serves two rows of x, and a number of x four rows of w, so that
 * up to eight sums grow side by side. */
function multiply(out, x, w, n, width, height) {
  let t = 0;
  for (; t + 1 < n; t += 2) multiplyTwo(out, x, w, t, width, height);
  if (t < n) multiplyOne(out, x, w, t, width, height);
}

function multiplyOne(out, x, w, t, width, height) {
  const row = t * width, to = t * height;
  let j = 0;
  for (; j + 3 < height; j += 4) {
    const a = j * width, b = a + width, c = b + width, d = c + width;
    let sa = 0, sb = 0, sc = 0, sd = 0;
    for (let i = 0; i < width; i++) {
      const v = x[row + i];
      sa += v * w[a + i];
      sb += v * w[b + i];
      sc += v * w[c + i];
      sd += v * w[d + i];
    }
    out[to + j] = sa;
    out[to + j + 1] = sb;
    out[to + j + 2] = sc;
    out[to + j + 3] = sd;
  }
  for (; j < height; j++) out[to + j] = dot(x, row, w, j * width, width);
}

function multiplyTwo(out, x, w, t, width, height) {
  const row = t * width, next = row + width, to = t * height, below = to + height;
  let j = 0;
  for (; j + 3 < height; j += 4) {
    const a = j * width, b = a + width, c = b + width, d = c + width;
    let sa = 0, sb = 0, sc = 0, sd = 0, ta = 0, tb = 0, tc = 0, td = 0;
    for (let i = 0; i < width; i++) {
      const v = x[row + i], u = x[next + i], wa = w[a + i], wb = w[b + i], wc = w[c + i], wd = w[d + i];
      sa += v * wa;
      sb += v * wb;
      sc += v * wc;
      sd += v * wd;
      ta += u * wa;
      tb += u * wb;
      tc += u * wc;
      td += u * wd;
    }
    out[to + j] = sa;
    out[to + j + 1] = sb;
    out[to + j + 2] = sc;
    out[to + j + 3] = sd;
    out[below + j] = ta;
    out[below + j + 1] = tb;
    out[below + j + 2] = tc;
    out[below + j + 3] = td;
  }
  for (; j < height; j++) {
    out[to + j] = dot(x, row, w, j * width, width);
    out[below + j] = dot(x, next, w, j * width, width);
  }
}

/* The sum of x[at + i] · y[from + i] over `length` numbers. */
function dot(x, at, y, from, length) {
  let sum = 0;
  for (let i = 0; i < length; i++) sum += x[at + i] * y[from + i];
  return sum;
}

/* Root-mean-square norm: each row is brought to length 1 per number, then scaled by learned weights. */
function normalise(out, x, weight, n, width, epsilon) {
  for (let t = 0; t < n; t++) {
    let squares = 0;
    for (let i = 0; i < width; i++) squares += x[t * width + i] ** 2;
    const scale = 1 / Math.sqrt(squares / width + epsilon);
    for (let i = 0; i < width; i++) out[t * width + i] = x[t * width + i] * scale * weight[i];
  }
}

/* Scores to probabilities, in place, over x[start … start + length - 1]. */
function softmax(x, start = 0, length = x.length) {
  let highest = -Infinity, sum = 0;
  for (let i = start; i < start + length; i++) if (x[i] > highest) highest = x[i];
  for (let i = start; i < start + length; i++) sum += x[i] = Math.exp(x[i] - highest);
  for (let i = start; i < start + length; i++) x[i] /= sum;
  return x;
}

class Model {
  /* `file` is what readModelFile returned. Throws where the config asks for something that is not written here. */
  constructor(file) {
    const c = file.config;
    const rope = c.rope_parameters ?? { rope_type: "default", rope_theta: c.rope_theta };
    if (c.model_type !== "llama" || c.hidden_act !== "silu" || rope.rope_type !== "default" || c.attention_bias || c.mlp_bias)
      throw new Error("Only a Llama without biases, with SiLU and plain rotary positions is known here.");
    this.hidden = c.hidden_size;
    this.heads = c.num_attention_heads;
    this.kvHeads = c.num_key_value_heads ?? this.heads; // fewer than heads: several heads share keys and values
    this.headSize = c.head_dim ?? this.hidden / this.heads;
    this.inner = c.intermediate_size;
    this.vocabulary = c.vocab_size;
    this.context = c.max_position_embeddings;
    this.epsilon = c.rms_norm_eps;
    this.endIds = file.end_ids;
    this.weights = file.tensors;
    this.output = file.tensors["lm_head.weight"] ?? file.tensors["model.embed_tokens.weight"]; // tied embeddings
    this.setRotations(rope.rope_theta);

    const kvSize = this.kvHeads * this.headSize;
    this.layers = Array.from({ length: c.num_hidden_layers }, (_, i) => {
      const of = (part) => file.tensors[`model.layers.${i}.${part}.weight`];
      return {
        norm1: of("input_layernorm"), norm2: of("post_attention_layernorm"),
        q: of("self_attn.q_proj"), k: of("self_attn.k_proj"), v: of("self_attn.v_proj"), o: of("self_attn.o_proj"),
        gate: of("mlp.gate_proj"), up: of("mlp.up_proj"), down: of("mlp.down_proj"),
        keys: new Float32Array(this.context * kvSize), // the KV cache: one row per position
        values: new Float32Array(this.context * kvSize),
      };
    });
    this.cached = []; // the ids whose keys and values the cache holds
  }

  /* cos and sin of every position's rotation angles; (context, headSize / 2) each. */
  setRotations(theta) {
    const half = this.headSize / 2;
    this.cos = new Float32Array(this.context * half);
    this.sin = new Float32Array(this.context * half);
    for (let position = 0; position < this.context; position++) {
      for (let i = 0; i < half; i++) {
        const angle = position * Math.fround(theta ** (-i / half));
        this.cos[position * half + i] = Math.cos(angle);
        this.sin[position * half + i] = Math.sin(angle);
      }
    }
  }

  /* The logits of the token after `ids`: Float32Array(vocabulary). With `from`, those after each of the positions
   * from … ids.length - 1, as an array. What `ids` has in common with the last call is not computed again. */
  logits(ids, from = null) {
    if (ids.length === 0) throw new Error("There is no token to predict from.");
    if (ids.length > this.context) throw new Error(`${ids.length} tokens are more than the ${this.context} that this model can see.`);
    const first = from ?? ids.length - 1;
    let start = 0;
    while (start < first && start < this.cached.length && this.cached[start] === ids[start]) start++;
    this.cached = Array.from(ids);
    const wanted = ids.length - first;
    const last = this.forward(ids.slice(start), start, wanted);
    normalise(last, last, this.weights["model.norm.weight"], wanted, this.hidden, this.epsilon);
    const scores = new Float32Array(wanted * this.vocabulary);
    multiply(scores, last, this.output, wanted, this.hidden, this.vocabulary);
    if (from === null) return scores;
    return Array.from({ length: wanted }, (_, t) => scores.subarray(t * this.vocabulary, (t + 1) * this.vocabulary));
  }

  /* All layers over n new tokens at positions start, start + 1, …; returns the rows of the last `wanted` of them, before
   * the last norm. */
  forward(ids, start, wanted) {
    const { hidden, inner, heads, kvHeads, headSize } = this;
    let n = ids.length;
    const qSize = heads * headSize, kvSize = kvHeads * headSize;
    const embedding = this.weights["model.embed_tokens.weight"];
    let x = new Float32Array(n * hidden), normed = new Float32Array(n * hidden);
    ids.forEach((id, t) => x.set(embedding.subarray(id * hidden, (id + 1) * hidden), t * hidden));
    const added = new Float32Array(n * hidden);
    const q = new Float32Array(n * qSize), mixed = new Float32Array(n * qSize);
    const gate = new Float32Array(n * inner), up = new Float32Array(n * inner);

    for (const layer of this.layers) {
      // Attention: what do the tokens before have to say?
      normalise(normed, x, layer.norm1, n, hidden, this.epsilon);
      const k = layer.keys.subarray(start * kvSize), v = layer.values.subarray(start * kvSize);
      multiply(k, normed, layer.k, n, hidden, kvSize);
      multiply(v, normed, layer.v, n, hidden, kvSize);
      this.rotate(k, n, kvHeads, start);
      if (layer === this.layers.at(-1)) {
        // Above the last layer only the wanted rows are read. The others have left their keys and values, and are done.
        const done = n - wanted;
        x = x.subarray(done * hidden);
        normed = normed.subarray(done * hidden);
        start += done;
        n = wanted;
      }
      multiply(q, normed, layer.q, n, hidden, qSize);
      this.rotate(q, n, heads, start);
      this.attend(mixed, q, layer.keys, layer.values, n, start);
      multiply(added, mixed, layer.o, n, qSize, hidden);
      for (let i = 0; i < x.length; i++) x[i] += added[i];

      // The network: what follows from it?
      normalise(normed, x, layer.norm2, n, hidden, this.epsilon);
      multiply(gate, normed, layer.gate, n, hidden, inner);
      multiply(up, normed, layer.up, n, hidden, inner);
      for (let i = 0; i < n * inner; i++) gate[i] *= up[i] / (1 + Math.exp(-gate[i])); // SiLU(gate) · up
      multiply(added, gate, layer.down, n, inner, hidden);
      for (let i = 0; i < x.length; i++) x[i] += added[i];
    }
    return x;
  }

  /* Rotary positions: each pair (i, i + half) of a head is turned by an angle that grows with the position. */
  rotate(x, n, heads, start) {
    const half = this.headSize / 2;
    for (let t = 0; t < n; t++) {
      const angles = (start + t) * half;
      for (let h = 0; h < heads; h++) {
        const head = (t * heads + h) * this.headSize;
        for (let i = 0; i < half; i++) {
          const a = x[head + i], b = x[head + half + i];
          const cos = this.cos[angles + i], sin = this.sin[angles + i];
          x[head + i] = a * cos - b * sin;
          x[head + half + i] = b * cos + a * sin;
        }
      }
    }
  }

  /* Every head of every new token weighs the values of all positions up to its own by how well the keys fit. */
  attend(out, q, keys, values, n, start) {
    const { heads, kvHeads, headSize } = this;
    const kvSize = kvHeads * headSize, scale = 1 / Math.sqrt(headSize);
    const weights = new Float32Array(start + n);
    out.fill(0);
    for (let t = 0; t < n; t++) {
      const seen = start + t + 1;
      for (let h = 0; h < heads; h++) {
        const head = (t * heads + h) * headSize;
        const shared = Math.floor((h * kvHeads) / heads) * headSize; // where this head's keys and values stand in a row
        for (let s = 0; s < seen; s++) {
          weights[s] = scale * dot(q, head, keys, s * kvSize + shared, headSize);
        }
        softmax(weights, 0, seen);
        for (let s = 0; s < seen; s++) {
          for (let i = 0; i < headSize; i++) out[head + i] += weights[s] * values[s * kvSize + shared + i];
        }
      }
    }
  }
}
