"""The equations once more, slowly: Python loops over positions and items, no batches, no padding, no masks."""

import math

import torch


def log_probs(recommender, history):
    """Log-probabilities (n,) after `history`, from the recommender's weights and the equations alone."""
    states = gru_states(recommender, history)
    head, n = recommender.head, recommender.n_items
    weight = recommender.embedding.weight
    reads = [query(head, states, t) for t in range(len(history))]
    last = reads[-1]
    z = [linear(head.maps["V"], last) @ weight[v] for v in range(n)]
    for k in sorted(head.config.rerank, reverse=True):
        ranked = sorted(range(n), key=lambda v: -float(z[v].detach()))
        facet = linear(head.maps[f"R{k}"], last)
        for v in ranked[:k]:
            z[v] = facet @ weight[v]
    if head.config.context:
        for x in set(history):
            score = linear(head.maps["C"], last) @ weight[x]
            if head.config.pointer:
                places = [j for j, item in enumerate(history) if item == x]
                pointers = [linear(head.maps["P"], last) @ linear(head.maps["L"], reads[j]) for j in places]
                score = score + sum(pointers) / len(places)
            z[x] = score
    z = torch.stack(z)
    top = z.max()
    return z - top - torch.log(torch.exp(z - top).sum())


def gru_states(recommender, history):
    """states[t][layer] (d,), by the textbook GRU (no bias), one step at a time."""
    encoder = recommender.encoder
    inputs = [recommender.embedding.weight[item] for item in history]
    states = [[] for _ in history]
    for layer in encoder.layers:
        reset_i, update_i, new_i = layer.weight_ih_l0.chunk(3)
        reset_h, update_h, new_h = layer.weight_hh_l0.chunk(3)
        h = torch.zeros(layer.hidden_size, dtype=inputs[0].dtype)
        for t, x in enumerate(inputs):
            reset = torch.sigmoid(reset_i @ x + reset_h @ h)
            update = torch.sigmoid(update_i @ x + update_h @ h)
            new = torch.tanh(new_i @ x + reset * (new_h @ h))
            h = (1 - update) * new + update * h
            inputs[t] = h
            states[t].append(linear(encoder.dense, h))
    return states


def query(head, states, t):
    """q_t: the top state, or with Mi the top state and GELU(M · states of the top layers at t, t − 1, t − 2)."""
    top = states[t][-1]
    if not head.config.inputs:
        return top
    depth = min(2, len(states[0]))
    nothing = torch.zeros_like(top)
    around = [state for back in range(3) for state in (states[t - back][-depth:] if t >= back else [nothing] * depth)]
    mixed = linear(head.mix, torch.cat(around))
    gelu = 0.5 * mixed * (1 + torch.tanh(math.sqrt(2 / math.pi) * (mixed + 0.044715 * mixed**3)))
    return torch.cat([top, gelu])


def linear(layer, x):
    return layer.weight @ x + layer.bias
