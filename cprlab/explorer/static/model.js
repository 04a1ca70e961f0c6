// A recommender in the page: what cprlab/models computes for one history, at its last position, without Python.
//
// Names and equations are those of encoders.py, heads.py, partitions.py and recommender.py. A description, made by
// page_model.py, says what is computed; a .safetensors file has the weights. A new partition needs a function in
// PARTITIONS, named like its class. A matrix is flat, row after row; weights are {shape, data}, as in the file, and all
// else is in double precision. L items are read of n, hidden states have d values.

const TYPES = {
  F64: [8, (bytes) => new Float64Array(bytes)],
  I64: [8, (bytes) => Float64Array.from(new BigInt64Array(bytes), Number)],
  F32: [4, (bytes) => new Float32Array(bytes)],
  BF16: [2, (bytes) => new Float32Array(Uint32Array.from(new Uint16Array(bytes), (half) => half << 16).buffer)],
};

/** Return the tensors {shape, data} of a .safetensors file (ArrayBuffer) by name, as a Map; an Error says why not. */
export function readSafetensors(buffer) {
  const refuse = (why) => {
    throw Error(`This is not a whole .safetensors file: ${why}.`);
  };
  if (buffer.byteLength < 8) refuse(`it has ${buffer.byteLength} bytes`);
  const start = 8 + Number(new DataView(buffer).getBigUint64(0, true));
  if (start > buffer.byteLength) refuse("its header is cut off");
  let header = null;
  try {
    header = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(buffer.slice(8, start)));
  } catch {
    refuse("its header is not JSON");
  }
  const isShape = (one) => Array.isArray(one) && one.every((size) => Number.isSafeInteger(size) && size >= 0);
  const tensors = new Map();
  for (const [name, entry] of Object.entries(header ?? {})) {
    if (name === "__metadata__") continue;
    const { dtype, shape, data_offsets: offsets } = entry ?? {};
    if (!isShape(shape) || !isShape(offsets)) refuse(`its header does not say where ${name} is`);
    const known = "F32, F64, I64 or BF16";
    if (!Object.hasOwn(TYPES, dtype)) throw Error(`The weights ${name} are of type ${dtype}, not ${known}.`);
    const [bytes, widened] = TYPES[dtype];
    const [from, to] = offsets;
    const size = shape.reduce((product, one) => product * one, bytes);
    if (to - from !== size || start + to > buffer.byteLength) refuse(`its header is wrong about the size of ${name}`);
    tensors.set(name, { shape, data: widened(buffer.slice(start + from, start + to)) });
  }
  return tensors;
}

/**
 * Return a recommender: its description, output embeddings, and the functions below. An Error says which weights are
 * wrong, or what cannot be computed.
 */
export function openModel(description, tensors) {
  const { n_items: n, max_len: maxLen, encoder, head } = description;
  for (const [name, shape] of Object.entries(description.weights)) {
    const found = tensors.get(name)?.shape ?? "missing";
    const told = `The weights ${name} are ${found}, not ${shape}: they are of another model.`;
    if (String(found) !== String(shape)) throw Error(told);
  }
  const known = (table, name) => {
    if (!Object.hasOwn(table, name)) throw Error(`A page cannot compute ${name}; use Python.`);
    return table[name];
  };
  const data = (name) => tensors.get(name)?.data;
  const layer = (prefix, suffix = "") => ({
    weight: tensors.get(`${prefix}weight${suffix}`),
    bias: data(`${prefix}bias${suffix}`),
  });
  const encode = known(ENCODERS, encoder.name);
  const prepare = known(HEADS, head.kind);
  const partitions = head.components.flatMap((component) => component.partitions);
  partitions.forEach((one) => known(PARTITIONS, one.kind) && known(MERGES, one.merge));
  const first = head.components.flatMap(({ vocabulary }) => (vocabulary ? [{ name: vocabulary, width: null }] : []));
  const reads = new Map([...first, ...partitions.flatMap((one) => one.reads)].map((facet) => [facet.name, facet]));
  const embedding = data("embedding.weight");
  const outputs = {
    weight: tensors.get("output_embedding.weight") ?? tensors.get("embedding.weight"),
    bias: data("item_bias"),
  };
  if (head.similarity === "cosine") {
    const { shape, data: rows } = outputs.weight;
    outputs.weight = { shape, data: normalised(Float64Array.from(rows), shape[1]) };
  }

  /** Return the last `max_len` codes of a history, oldest first; an Error if it is empty or has a wrong code. */
  function read(history) {
    if (!history.length) throw Error("The history is empty; a prediction needs at least one item.");
    for (const item of history) {
      const isItem = Number.isInteger(item) && item >= 0 && item < n;
      if (!isItem) throw Error(`The history contains ${item}, which is not an item from 0 to ${n - 1}.`);
    }
    return Array.from(history).slice(-maxLen);
  }

  /** Return the encoder's states at a history's last positions: (rows, d) for each layer, the top one last. */
  function states(history, rows = read(history).length) {
    const items = read(history);
    const embedded = new Float64Array(items.length * encoder.d);
    items.forEach((item, t) => embedded.set(row(embedding, item, encoder.d), t * encoder.d));
    return encode(encoder, layer, embedded, items.length, rows);
  }

  /** Return the head's facets of a history by name, as `Head.facets` does; they may be moved before `explain`. */
  function facets(history) {
    const { length } = read(history);
    return prepare({ head, layer, data }, (rows) => states(history, rows), length, [...reads.values()]);
  }

  /**
   * Return the prediction for given facets, as `Recommender.explain` does: logProbs (n,), the mixture's weights (K,)
   * or null, copy = P(history), and of each softmax the names of its stages, the logits (n,) after each, and the owner
   * (n,) of each item, the index in `names` of the partition that scored it last, or −1.
   */
  function explain(given, history) {
    const items = read(history);
    const places = new Map(items.map((item) => [item, []])); // by distinct item, in the order of first occurrences
    items.forEach((item, t) => places.get(item).push(t));
    const components = head.components.map(({ vocabulary, partitions }) => {
      const [names, logits] = [vocabulary ? ["V"] : [], []];
      const owner = new Int16Array(n).fill(names.length - 1);
      let z = vocabulary ? linear(outputs, given[vocabulary]).subarray(0, n) : new Float64Array(n).fill(-Infinity);
      if (vocabulary) logits.push(z);
      for (const partition of partitions) {
        const context = { z, facets: given, outputs, places, length: items.length };
        const [owned, scores] = PARTITIONS[partition.kind](partition, context);
        z = z.slice();
        owned.forEach((item, i) => {
          z[item] = MERGES[partition.merge](z[item], scores[i]);
          if (partition.kind !== "Pointer") owner[item] = names.length;
        });
        logits.push(z);
        names.push(partition.name);
      }
      return { names, logits, owner };
    });
    const { z, weights } = mixture(components.map(({ logits }) => logits.at(-1)), given.mixture);
    if (head.post) for (const item of places.keys()) z[item] = -Infinity;
    const logProbs = logSoftmax(z);
    const copy = [...places.keys()].reduce((sum, item) => sum + Math.exp(logProbs[item]), 0);
    return { logProbs, weights, copy, components };
  }

  /**
   * Return the same weights under another head, as `ablated` does. `changed` returns a partition's new settings, such
   * as another k, or null to take it away; `options` are new values of the head's fields, such as post or inputs (Mi).
   */
  function switched(changed, options = {}) {
    const components = head.components.map((component) => ({
      ...component,
      partitions: component.partitions.map(changed).filter(Boolean),
    }));
    return openModel({ ...description, head: { ...head, ...options, components } }, tensors);
  }

  const predict = (history) => explain(facets(history), history);
  return { description, outputs, read, states, facets, explain, switched, predict };
}

// Partitions: from settings and {z, facets, outputs, places, length}, the items that each owns and their scores.

export const PARTITIONS = {
  /** The k items with the largest logits so far, by f_R; of equal ones, those with the smallest codes. */
  Reranker({ k, facet }, { z, facets, outputs }) {
    const owned = largest(z, k);
    return [owned, score(outputs, facets[facet], owned)];
  },

  /** Every distinct item, by f_C. */
  ContextPartition({ facet }, { facets, outputs, places }) {
    const owned = [...places.keys()];
    return [owned, score(outputs, facets[facet], owned)];
  },

  /** Every distinct item x, by the mean over {j : x_j = x} of f_P · l_j, or the sum. */
  Pointer({ mean }, { facets: { P, L }, places }) {
    const sum = (js) => js.reduce((before, j) => before + dot(P, L, j * P.length), 0);
    return distinct(places, (js) => (mean ? sum(js) / js.length : sum(js)));
  },

  /** Every distinct item, by one learned number. */
  Shift(_, { facets, places }) {
    return distinct(places, () => facets.B[0]);
  },

  /** Every distinct item x, by b + w₁ log(1 + count of x) + w₂ log Σ_j age_j^−δ; the latest item read has age 1. */
  Frequency(_, { facets, places, length }) {
    const [b, byCount, byAge, raw] = facets.F;
    const decay = raw > 40 ? raw : Math.log1p(Math.exp(raw));
    const activation = (js) => logSumExp(js.map((j) => -decay * Math.log(length - j)));
    return distinct(places, (js) => b + byCount * Math.log1p(js.length) + byAge * activation(js));
  },

  /** Every distinct item x, by log Σ over {j : x_j = x} of exp(a_j). */
  Attention(_, { facets, places }) {
    return distinct(places, (js) => logSumExp(js.map((j) => facets.repeat[j])));
  },

  /** Every distinct item, by −∞. */
  Exclusion(_, { places }) {
    return distinct(places, () => -Infinity);
  },
};

/** Return the distinct items, and a score of each from its positions. */
function distinct(places, scoreOf) {
  return [[...places.keys()], Array.from(places.values(), scoreOf)];
}

const MERGES = { replace: (z, s) => s, add: (z, s) => z + s, half: (z, s) => z / 2 + s };

/** Return z (n,) with p = softmax(z), and the weights π (K,) or null, of K logits (n,) and log π up to a constant. */
function mixture(scores, given) {
  if (!given) {
    const z = scores[0].map((_, item) => Math.max(...scores.map((one) => one[item])));
    return { z, weights: scores.length === 1 ? [1] : null };
  }
  const norms = scores.map(logSumExp);
  const logWeights = logSoftmax(given.map((weight, k) => (norms[k] === -Infinity ? -Infinity : weight)));
  const shift = norms.map((norm, k) => logWeights[k] - Math.max(norm, -Number.MAX_VALUE));
  const z = scores[0].map((_, item) => logSumExp(scores.map((one, k) => one[item] + shift[k])));
  return { z, weights: Array.from(logWeights, Math.exp) };
}

// Heads: from {head, layer, data}, a function that returns the last states, L and the facets read, these by name.

const HEADS = {
  /** Linear maps of q at the last position, or at all of them, and learned numbers; see `PartitionedSoftmax.facets`. */
  Softmax({ head, layer, data }, states, length, wanted) {
    const rows = wanted.some(({ everywhere }) => everywhere) ? length : 1;
    const reach = head.inputs ? Math.min(length, rows + head.window) : rows;
    const q = query(head, layer, states(reach), reach, rows);
    const now = q.subarray(-q.length / rows);
    const found = {};
    for (const { name, width, everywhere, learned } of wanted) {
      const map = layer(`head.maps.${name}.`);
      if (learned) found[name] = Float64Array.from(data(`head.learned.${name}`));
      else found[name] = everywhere ? linear(map, q, rows) : linear(map, now);
      if (head.similarity === "cosine" && width === null) {
        const scale = everywhere ? 1 : Math.exp(data("head.log_scale")[0]);
        found[name] = normalised(found[name], map.weight.shape[0], scale);
      }
    }
    if (head.mixture === "dynamic") found.mixture = linear(layer("head.maps.mixture."), now);
    if (head.mixture === "static") found.mixture = Float64Array.from(data("head.weights"));
    if (head.mixture === "uniform") found.mixture = new Float64Array(head.facets);
    return found;
  },

  /** "mixture" (2,): repeat or explore; "repeat" (L,); "V" (2d,); see `RepeatNet.facets`. */
  RepeatNet({ layer }, states, length) {
    const top = states(length).at(-1);
    const d = top.length / length;
    const now = row(top, length - 1, d);
    const attention = (name) => {
      const keys = linear(layer(`head.${name}.key.`), top, length);
      const asked = linear(layer(`head.${name}.query.`), now);
      return linear(layer(`head.${name}.value.`), keys.map((key, i) => Math.tanh(key + asked[i % d])), length);
    };
    const attended = (name) => weighted(logSoftmax(attention(name)).map(Math.exp), top, d);
    return {
      mixture: linear(layer("head.choice."), attended("gate")),
      repeat: attention("repeat"),
      V: Float64Array.of(...attended("explore"), ...now),
    };
  },
};

/**
 * Return q at the last `rows` of the `reach` positions that the states are of: (rows, d), or with Mi (rows, 2d),
 * [h_t ; GELU(M · states before and at t)], with zeros for states before the first position.
 */
function query({ inputs, depth, window }, layer, states, reach, rows) {
  const top = states.at(-1);
  if (!inputs) return top;
  const d = top.length / reach;
  const read = states.slice(-depth).reverse();
  const around = new Float64Array(rows * read.length * (window + 1) * d);
  let place = 0;
  for (let t = reach - rows; t < reach; t++) {
    for (const state of read) {
      for (let back = 0; back <= window; back++, place += d) if (t >= back) around.set(row(state, t - back, d), place);
    }
  }
  const mixed = linear(layer("head.mix."), around, rows).map(geluTanh);
  const q = new Float64Array(rows * 2 * d);
  for (let t = 0; t < rows; t++) {
    q.set(row(top, reach - rows + t, d), 2 * t * d);
    q.set(row(mixed, t, d), (2 * t + 1) * d);
  }
  return q;
}

// Encoders: from settings, embedded items (L, d), L and a number of rows, the last states (rows, d) of each layer.

const ENCODERS = {
  /** h_t = (1 − u) n + u h_{t−1}, with r and u = σ(a + b), n = tanh(a + r b), a of the input and b of h_{t−1}. */
  GRU4Rec({ layers, hidden }, layer, embedded, length, rows) {
    let x = embedded;
    return Array.from({ length: layers }, (_, depth) => {
      const inputs = linear(layer(`encoder.layers.${depth}.`, "_ih_l0"), x, length);
      const recurrent = layer(`encoder.layers.${depth}.`, "_hh_l0");
      let h = new Float64Array(hidden);
      x = new Float64Array(length * hidden);
      for (let t = 0; t < length; t++) {
        const [a, b] = [row(inputs, t, 3 * hidden), linear(recurrent, h)];
        h = h.map((before, i) => {
          const r = sigmoid(a[i] + b[i]);
          const u = sigmoid(a[hidden + i] + b[hidden + i]);
          return (1 - u) * Math.tanh(a[2 * hidden + i] + r * b[2 * hidden + i]) + u * before;
        });
        x.set(h, t * hidden);
      }
      return linear(layer("encoder.dense."), x.subarray(-rows * hidden), rows);
    });
  },

  /** Causal transformer layers; the pre-norm form multiplies embeddings by √d and normalises each layer's states. */
  SASRec({ d, layers, heads, activation, norm_first: first, norm_eps: eps }, layer, embedded, length, rows) {
    const positions = layer("encoder.positions.").weight.data;
    const norm = (name, x) => layerNorm(layer(name), x, eps);
    const states = [];
    let x = embedded.map((value, i) => (first ? Math.sqrt(d) : 1) * value + positions[i]);
    if (!first) x = norm("encoder.norm.", x);
    for (let depth = 0; depth < layers; depth++) {
      const at = `encoder.layers.${depth}.`;
      const kept = depth === layers - 1 ? rows : length; // the layer above reads all positions
      const attend = (y) => {
        const attended = selfAttention(linear(layer(`${at}self_attn.in_proj_`), y, length), heads, length, kept);
        return linear(layer(`${at}self_attn.out_proj.`), attended, kept);
      };
      const feed = (y) => {
        const inner = linear(layer(`${at}linear1.`), y, kept).map(ACTIVATIONS[activation]);
        return linear(layer(`${at}linear2.`), inner, kept);
      };
      for (const [sublayer, name] of [[attend, `${at}norm1.`], [feed, `${at}norm2.`]]) {
        const y = sublayer(first ? norm(name, x) : x);
        x.subarray(-kept * d).forEach((before, i) => (y[i] += before));
        x = first ? y : norm(name, y);
      }
      const last = x.subarray(-rows * d);
      states.push(first ? norm("encoder.norm.", last) : last);
    }
    return states;
  },
};

/** Return softmax(q_t · k_j / √(d / heads)) over j ≤ t, times v_j, head by head, (rows, d), of [q ; k ; v] (L, 3d). */
function selfAttention(qkv, heads, length, rows) {
  const d = qkv.length / length / 3;
  const width = d / heads;
  const attended = new Float64Array(rows * d);
  for (let head = 0; head < heads; head++) {
    const part = (place, t) => row(qkv, (3 * t + place) * heads + head, width);
    const keys = new Float64Array(length * width);
    const values = new Float64Array(length * width);
    for (let t = 0; t < length; t++) {
      keys.set(part(1, t), t * width);
      values.set(part(2, t), t * width);
      const place = t - length + rows;
      if (place < 0) continue;
      const q = part(0, t);
      const scores = new Float64Array(t + 1).map((_, j) => dot(q, keys, j * width));
      const shares = logSoftmax(scores, Math.sqrt(width)).map(Math.exp);
      attended.set(weighted(shares, values, width), place * d + head * width);
    }
  }
  return attended;
}

/** Return (x − mean) / √(variance + ε) · w + b for each row of x (rows, d). */
function layerNorm({ weight, bias }, x, eps) {
  const w = weight.data;
  const d = w.length;
  const y = new Float64Array(x.length);
  for (let start = 0; start < x.length; start += d) {
    let [mean, variance] = [0, 0];
    for (let i = 0; i < d; i++) mean += x[start + i] / d;
    for (let i = 0; i < d; i++) variance += (x[start + i] - mean) ** 2 / d;
    for (let i = 0; i < d; i++) y[start + i] = ((x[start + i] - mean) / Math.sqrt(variance + eps)) * w[i] + bias[i];
  }
  return y;
}

// Arithmetic

/**
 * Return W x + b for each row of x (rows, width), as (rows, out), for W (out, in). Of a wider W the first columns
 * count, so that a map of [h ; GELU(…)] can read h alone. Four rows of W at a time; the last ones may be done again.
 */
function linear({ weight: { shape, data: w }, bias }, x, rows = 1) {
  const [out, columns] = shape;
  const width = x.length / rows;
  const y = new Float64Array(rows * out);
  for (let a = 0; a < out; a += 4) {
    const [b, c, d] = [Math.min(a + 1, out - 1), Math.min(a + 2, out - 1), Math.min(a + 3, out - 1)];
    const [wa, wb, wc, wd] = [a * columns, b * columns, c * columns, d * columns];
    for (let t = 0; t < rows; t++) {
      let [ya, yb, yc, yd] = [0, 0, 0, 0];
      for (let i = 0, j = t * width; i < width; i++, j++) {
        ya += x[j] * w[wa + i];
        yb += x[j] * w[wb + i];
        yc += x[j] * w[wc + i];
        yd += x[j] * w[wd + i];
      }
      y[t * out + a] = ya;
      y[t * out + b] = yb;
      y[t * out + c] = yc;
      y[t * out + d] = yd;
    }
  }
  if (bias) for (let i = 0; i < y.length; i++) y[i] += bias[i % out];
  return y;
}

/** Return f · w_v + b_v for chosen items, (k,). */
function score({ weight, bias }, f, items) {
  return items.map((item) => dot(f, weight.data, item * f.length) + (bias?.[item] ?? 0));
}

/** Return x · y, with y from a place on. */
function dot(x, y, start) {
  let sum = 0;
  for (let i = 0; i < x.length; i++) sum += x[i] * y[start + i];
  return sum;
}

/** Return Σ_t share_t x_t, (width,), for rows x_t of a matrix. */
function weighted(shares, x, width) {
  const sum = new Float64Array(width);
  shares.forEach((share, t) => {
    for (let i = 0; i < width; i++) sum[i] += share * x[t * width + i];
  });
  return sum;
}

const row = (matrix, t, width) => matrix.subarray(t * width, (t + 1) * width);

/** Scale each row of a matrix to a length; rows of zeros stay. */
function normalised(x, width, scale = 1) {
  for (let start = 0; start < x.length; start += width) {
    const one = x.subarray(start, start + width);
    const norm = Math.max(Math.sqrt(dot(one, one, 0)), 1e-12);
    for (let i = 0; i < width; i++) one[i] *= scale / norm;
  }
  return x;
}

/** Return the codes of the k largest values, in their order; of equal ones, the smallest codes. */
function largest(z, k) {
  const least = Float64Array.from(z).sort()[z.length - k];
  const above = [];
  const equal = [];
  z.forEach((value, item) => value >= least && (value > least ? above : equal).push(item));
  return [...above, ...equal.slice(0, k - above.length)];
}

/** Return log Σ exp(z); −∞ if all are. */
function logSumExp(z) {
  let [most, sum] = [-Infinity, 0];
  for (let i = 0; i < z.length; i++) if (z[i] > most) most = z[i];
  if (most === -Infinity) return most;
  for (let i = 0; i < z.length; i++) sum += Math.exp(z[i] - most);
  return most + Math.log(sum);
}

/** Return log softmax(z / T), (n,); −∞ if all of z is. */
export function logSoftmax(z, temperature = 1) {
  const scaled = z.map((value) => value / temperature);
  const norm = Math.max(logSumExp(scaled), -Number.MAX_VALUE);
  return scaled.map((value) => value - norm);
}

const sigmoid = (x) => 1 / (1 + Math.exp(-x));
const geluTanh = (x) => (x / 2) * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3)));
const ACTIVATIONS = {
  gelu: (x) => (x / 2) * (1 + erf(x / Math.SQRT2)),
  relu: (x) => Math.max(x, 0),
  swish: (x) => x * sigmoid(x),
  tanh: Math.tanh,
  sigmoid,
};

/** erf(x) = 2/√π · e^(−x²) · Σ_k 2^k x^(2k+1) / (2k + 1)!!, a series of terms of one sign (DLMF 7.6.2). */
function erf(x) {
  if (Math.abs(x) > 6) return Math.sign(x);
  let [term, sum] = [x, x];
  for (let k = 3; Math.abs(term) > 1e-17 * Math.abs(sum); k += 2) sum += term *= (2 * x * x) / k;
  return (2 / Math.sqrt(Math.PI)) * Math.exp(-x * x) * sum;
}
