/* From logits to the next token: temperature, top-k, top-p, and a seed that gives the same text every time. */
"use strict";

/* The probabilities that are sampled from: divide by the temperature, keep the `topK` best (0: all), then keep the
 * smallest set that reaches `topP`. Temperature 0 takes the likeliest token; then these are the model's own. */
function sampledFrom(logits, { temperature = 1, topK = 0, topP = 1 } = {}) {
  const probs = Float32Array.from(logits, (logit) => logit / (temperature || 1));
  if (temperature === 0) return softmax(probs);
  if (topK > 0 && topK < probs.length) {
    const least = Float32Array.from(probs).sort()[probs.length - topK];
    for (let i = 0; i < probs.length; i++) if (probs[i] < least) probs[i] = -Infinity;
  }
  softmax(probs);
  if (topP < 1) {
    const order = Array.from(probs.keys()).sort((a, b) => probs[b] - probs[a]);
    let reached = 0;
    for (const id of order) {
      const before = reached;
      reached += probs[id];
      if (before >= topP) probs[id] = 0;
    }
    const sum = probs.reduce((a, b) => a + b, 0);
    for (let i = 0; i < probs.length; i++) probs[i] /= sum;
  }
  return probs;
}

/* The place of the largest number. */
function likeliest(numbers) {
  let best = 0;
  for (let i = 1; i < numbers.length; i++) if (numbers[i] > numbers[best]) best = i;
  return best;
}

/* The next token: the likeliest at temperature 0, otherwise where a number drawn from [0, 1) falls. */
function chooseToken(logits, settings, random) {
  if (settings.temperature === 0) return likeliest(logits);
  const probs = sampledFrom(logits, settings);
  const total = probs.reduce((a, b) => a + b, 0);
  let left = random() * total, last = 0;
  for (let id = 0; id < probs.length; id++) {
    if (probs[id] === 0) continue;
    last = id;
    left -= probs[id];
    if (left < 0) break;
  }
  return last;
}

/* The `k` best tokens, best first. */
function bestTokens(probs, k) {
  const best = []; // kept in order; k is small, so a short list beats sorting the vocabulary
  for (let id = 0; id < probs.length; id++) {
    if (best.length === k && probs[id] <= probs[best[k - 1]]) continue;
    let place = best.length;
    while (place > 0 && probs[best[place - 1]] < probs[id]) place--;
    best.splice(place, 0, id);
    if (best.length > k) best.pop();
  }
  return best.filter((id) => probs[id] > 0);
}

/* 1 for the most probable token, 2 for the next, … */
function rankOf(numbers, id) {
  let better = 0;
  for (let i = 0; i < numbers.length; i++) if (numbers[i] > numbers[id]) better++;
  return better + 1;
}

/* Python's random.Random(seed).random: the Mersenne twister (Matsumoto and Nishimura 1998), so that a seed gives the
 * text here that it gives in the notebooks. `seed` is a whole number from 0 to 2³² - 1. */
function seededRandom(seed) {
  const N = 624, state = new Uint32Array(N);
  let place = N;
  state[0] = 19650218;
  for (let i = 1; i < N; i++) state[i] = Math.imul(1812433253, state[i - 1] ^ (state[i - 1] >>> 30)) + i;
  let i = 1;
  const step = (factor, plus) => {
    state[i] = (state[i] ^ Math.imul(state[i - 1] ^ (state[i - 1] >>> 30), factor)) + plus(i);
    if (++i >= N) [state[0], i] = [state[N - 1], 1];
  };
  for (let k = 0; k < N; k++) step(1664525, () => seed);
  for (let k = 0; k < N - 1; k++) step(1566083941, (at) => -at);
  state[0] = 0x80000000;

  const next32 = () => {
    if (place === N) {
      for (let k = 0; k < N; k++) {
        const y = (state[k] & 0x80000000) | (state[(k + 1) % N] & 0x7fffffff);
        state[k] = state[(k + 397) % N] ^ (y >>> 1) ^ (y & 1 ? 0x9908b0df : 0);
      }
      place = 0;
    }
    let y = state[place++];
    y ^= y >>> 11;
    y ^= (y << 7) & 0x9d2c5680;
    y ^= (y << 15) & 0xefc60000;
    return (y ^ (y >>> 18)) >>> 0;
  };
  return () => ((next32() >>> 5) * 67108864 + (next32() >>> 6)) / 9007199254740992;
}
