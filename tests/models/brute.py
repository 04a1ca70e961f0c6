"""The equations once more, slowly: NumPy, loops over positions and items, no batches, no padding, no masks.

A linear map is a pair (W, b); a history is a list of items; states[t][layer] is a vector.
"""

import math

import numpy as np
from scipy.special import erf, expit, log_softmax, logsumexp, softmax


def log_probs(recommender, history, user=None):
    """Log-probabilities (n,) after `history`, from the recommender's weights and the equations alone."""
    z = np.array(logits(recommender, history, user))
    return log_softmax(without(history, z) if recommender.head.config.post else z)


def without(history, z):
    """(post): the history's items get probability 0, the others share it."""
    return np.array([-math.inf if item in history else value for item, value in enumerate(z)])


def logits(recommender, history, user=None):
    """Logits (n,), of which the probabilities are the softmax; log-probabilities for mixtures and RepeatNet."""
    weights = {name: weight.detach().numpy() for name, weight in recommender.state_dict().items()}

    def linear(name):
        return weights[f"{name}.weight"], weights.get(f"{name}.bias")

    embedding = weights["embedding.weight"]
    output = weights.get("output_embedding.weight", embedding)
    inputs = [embedding[item] for item in history]
    match type(recommender.encoder).__name__:
        case "GRU4Rec":
            states = gru(inputs, gru_layers(weights, "encoder.layers.{}.{}_l0"), linear("encoder.dense"))
        case "SASRec":
            first, d = recommender.encoder.layers[0], embedding.shape[1]
            layers = []
            for depth in range(len(recommender.encoder.layers)):
                name = f"encoder.layers.{depth}"
                matrix, bias = weights[f"{name}.self_attn.in_proj_weight"], weights[f"{name}.self_attn.in_proj_bias"]
                read = [(matrix[i * d : (i + 1) * d], bias[i * d : (i + 1) * d]) for i in range(3)]
                rest = ("self_attn.out_proj", "norm1", "linear1", "linear2", "norm2")
                layers.append(read + [linear(f"{name}.{part}") for part in rest])
            positions, norm = weights["encoder.positions.weight"], linear("encoder.norm")
            eps, form = first.norm1.eps, prenorm_sasrec if first.norm_first else sasrec
            states = form(inputs, positions, norm, layers, first.self_attn.num_heads, eps=eps)
        case "MF":
            states = [[weights["encoder.users.weight"][user]] for _ in history]
    config, n = recommender.head.config, recommender.n_items
    if config.kind == "RepeatNet":
        names = ("gate", "repeat", "explore")
        attentions = {name: [linear(f"head.{name}.{role}") for role in ("query", "key", "value")] for name in names}
        return repeatnet(states, history, attentions, linear("head.choice"), output[:n])
    maps = {name: linear(f"head.maps.{name}") for name in recommender.head.maps}
    if config.similarity == "cosine":
        output = [one / np.linalg.norm(one) for one in output]
    mix = linear("head.mix") if config.inputs else None
    learned = {name: weights[f"head.learned.{name}"] for name in recommender.head.learned}
    scale = np.exp(weights["head.log_scale"]) if config.similarity == "cosine" else None
    return partitioned(config, states, history, output[:n], maps, mix, weights.get("head.weights"), learned, scale)


def gru_layers(weights, pattern):
    layers = []
    while pattern.format(len(layers), "weight_ih") in weights:
        names = [pattern.format(len(layers), part) for part in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
        layers.append([weights.get(name) for name in names])
    return layers


def gru(inputs, layers, dense):
    """The textbook GRU, one step at a time, and a linear map of every layer's states."""
    inputs, states = list(inputs), [[] for _ in inputs]
    for weight_ih, weight_hh, bias_ih, bias_hh in layers:
        hidden = weight_hh.shape[1]
        h = np.zeros(hidden)
        for t, x in enumerate(inputs):
            reset_i, update_i, new_i = apply((weight_ih, bias_ih), x).reshape(3, hidden)
            reset_h, update_h, new_h = apply((weight_hh, bias_hh), h).reshape(3, hidden)
            update = expit(update_i + update_h)
            h = (1 - update) * np.tanh(new_i + expit(reset_i + reset_h) * new_h) + update * h
            inputs[t] = h
            states[t].append(apply(dense, h))
    return states


def gelu(x):
    return x * (1 + erf(x / math.sqrt(2))) / 2


def attended(xs, layer, heads):
    """What each position gets of itself and earlier ones."""
    query, key, value, out = layer[:4]
    queries, keys, values = ([apply(role, x) for x in xs] for role in (query, key, value))
    for t, x in enumerate(xs):
        mixed = []
        for part in np.split(np.arange(len(x)), heads):
            weights = softmax([queries[t][part] @ keys[j][part] / math.sqrt(len(part)) for j in range(t + 1)])
            mixed.append(sum(weight * values[j][part] for j, weight in enumerate(weights)))
        yield apply(out, np.concatenate(mixed))


def sasrec(inputs, positions, norm, layers, heads, eps, activation=gelu):
    """Post-norm transformer layers."""
    xs, states = [layer_norm(x + positions[t], norm, eps) for t, x in enumerate(inputs)], []
    for layer in layers:
        norm1, linear1, linear2, norm2 = layer[4:]
        xs = [layer_norm(x + got, norm1, eps) for x, got in zip(xs, attended(xs, layer, heads), strict=True)]
        xs = [layer_norm(x + apply(linear2, activation(apply(linear1, x))), norm2, eps) for x in xs]
        states.append(xs)
    return [list(of_position) for of_position in zip(*states, strict=True)]


def prenorm_sasrec(inputs, positions, norm, layers, heads, eps):
    """Pre-norm transformer layers; a layer's states are normalised."""
    xs, states = [math.sqrt(len(x)) * x + positions[t] for t, x in enumerate(inputs)], []
    for layer in layers:
        norm1, linear1, linear2, norm2 = layer[4:]
        read = [layer_norm(x, norm1, eps) for x in xs]
        xs = [x + got for x, got in zip(xs, attended(read, layer, heads), strict=True)]
        xs = [x + apply(linear2, gelu(apply(linear1, layer_norm(x, norm2, eps)))) for x in xs]
        states.append([layer_norm(x, norm, eps) for x in xs])
    return [list(of_position) for of_position in zip(*states, strict=True)]


def partitioned(config, states, history, weight, maps, mix, static, learned=None, scale=None):
    """docs/method.md: facets, logits, mixture, without (post); `weight` (n, d) is of what can be recommended."""
    reads = [query(config, states, t, mix) for t in range(len(history))]
    last, items = reads[-1], range(len(weight))
    all_logits = []

    def state(name):
        """A hidden state; of cosines, of length `scale`."""
        x = apply(maps[name], last)
        return x if scale is None else scale * x / np.linalg.norm(x)

    def local(read):
        """The embedding of an occurrence; of cosines, of length 1."""
        x = apply(maps["L"], read)
        return x if scale is None else x / np.linalg.norm(x)

    for k in range(config.facets):
        suffix = f"_{k + 1}" if k else ""
        z = [state(f"V{suffix}") @ weight[v] for v in items]
        if k < (config.rerank_facets or config.facets):
            for size in sorted(config.rerank, reverse=True):
                facet = state(f"R{size}{suffix}")
                for v in sorted(items, key=lambda v: -z[v])[:size]:
                    z[v] = facet @ weight[v] + (z[v] if config.rerank_merge == "add" else 0)
        if config.context and k < (config.context_facets or config.facets):
            for x in set(history):
                score = state(f"C{suffix}") @ weight[x]
                if config.pointer:
                    places = [j for j, item in enumerate(history) if item == x]
                    pointers = [state("P") @ local(reads[j]) for j in places]
                    score += sum(pointers) / (len(places) if config.context_norm else 1)
                z[x] = score + {"replace": 0, "add": z[x], "half": z[x] / 2}[config.context_merge]
        for x in set(history):
            if config.shift:
                z[x] += learned["B"][0]
            if config.frequency:
                z[x] += activation(history, x, learned["F"] if "F" in learned else apply(maps["F"], last))
        all_logits.append(z)
    if config.facets == 1 or config.mixture == "max_logits":
        return np.max(all_logits, axis=0)
    shares = {
        "dynamic": lambda: softmax(apply(maps["mixture"], last)),
        "static": lambda: softmax(static),
        "uniform": lambda: np.full(config.facets, 1 / config.facets),
    }[config.mixture]()
    with np.errstate(divide="ignore"):
        return logsumexp([np.log(share) + log_softmax(z) for share, z in zip(shares, all_logits, strict=True)], axis=0)


def activation(history, x, coefficients):
    """F: b + w1 log(1 + count) + w2 log Σ age^−δ; the latest item has the age 1."""
    b, by_count, by_age, decay = coefficients
    ages = [len(history) - j for j, item in enumerate(history) if item == x]
    kept = sum(age ** -math.log(1 + math.exp(decay)) for age in ages)
    return b + by_count * math.log(1 + len(ages)) + by_age * math.log(kept)


def query(config, states, t, mix):
    """q_t: the top state, or with Mi the top state and GELU(M · states of the top layers at t, t − 1, …)."""
    top = states[t][-1]
    if not config.inputs:
        return top
    nothing = np.zeros_like(top)
    around = [
        states[t - back][-1 - layer] if t >= back else nothing
        for layer in range(min(config.depth, len(states[0])))
        for back in range(config.window + 1)
    ]
    x = apply(mix, np.concatenate(around))
    return np.concatenate([top, x / 2 * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))])


def repeatnet(states, history, attentions, choice, weight):
    """Ren et al. (AAAI 2019), equations 5 to 11; `weight` (n, 2d) holds the items that can be recommended."""
    h = [state[-1] for state in states]

    def attention(name):
        asks, keys, value = attentions[name]
        return softmax([float(value[0][0] @ np.tanh(apply(asks, h[-1]) + apply(keys, x))) for x in h])

    def read(name):
        return sum(weight * x for weight, x in zip(attention(name), h, strict=True))

    new = [v for v in range(len(weight)) if v not in history]
    p_repeat, p_explore = softmax(apply(choice, read("gate"))) if new else (1, 0)
    p = np.zeros(len(weight))
    for item, share in zip(history, attention("repeat"), strict=True):
        p[item] += p_repeat * share
    if new:
        z = weight[new] @ np.concatenate([read("explore"), h[-1]])
        p[new] = p_explore * np.exp(z - logsumexp(z))
    with np.errstate(divide="ignore"):
        return np.log(p)


def layer_norm(x, norm, eps):
    return (x - x.mean()) / math.sqrt(x.var() + eps) * norm[0] + norm[1]


def apply(linear, x):
    matrix, bias = linear
    return matrix @ x if bias is None else matrix @ x + bias
