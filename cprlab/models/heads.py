"""The head: encoder states become facets, facets become log-probabilities over items.

The two steps are apart on purpose. `facets` holds all weights; `log_probs` has none, so that training can score in
chunks, and an explorer can move a facet and score again.
"""

import torch
from torch import nn
from torch.nn import functional as F

from cprlab.models.names import HeadConfig
from cprlab.models.partitions import Context, ContextPartition, Facets, Partition, Reranker, Vocabulary

WINDOW = 2  # Mi reads positions t, t − 1, …, t − WINDOW
DEPTH = 2  # … of the top DEPTH layers, or of as many as there are


class Head(nn.Module):
    """Partitioned softmax (Chang et al., WSDM 2024): vocabulary, then rerankers from the largest k, then context.

    Attributes:
        config: which partitions there are.
        partitions: in the order in which they are applied.
        maps: the linear map behind each facet, by name.
    """

    def __init__(self, config: HeadConfig, d: int, encoder_layers: int) -> None:
        super().__init__()
        self.config = config
        self.partitions: list[Partition] = [Vocabulary()]
        self.partitions += [Reranker(k) for k in reversed(config.rerank)]
        if config.context:
            self.partitions.append(ContextPartition(config.pointer))
        self.depth = min(DEPTH, encoder_layers)
        self.mix = nn.Linear(d * self.depth * (WINDOW + 1), d) if config.inputs else None
        width = 2 * d if config.inputs else d
        names = [name for partition in self.partitions for name in partition.facets]
        self.maps = nn.ModuleDict({name: nn.Linear(width, d) for name in names})

    def facets(self, states: torch.Tensor, at: torch.Tensor) -> Facets:
        """Return the facets that the partitions read.

        Args:
            states: (B, L, layers, d) encoder states.
            at: (B, T) int64, positions to score.

        Returns:
            By name (B, T, d), linear maps of what the head reads at `at`; "L" is (B, L, d), at every position.
        """
        read = self._query(states)
        chosen = read.gather(1, at[:, :, None].expand(-1, -1, read.shape[2]))
        return {name: layer(read if name == "L" else chosen) for name, layer in self.maps.items()}

    def log_probs(self, facets: Facets, weight: torch.Tensor, context: Context) -> torch.Tensor:
        """Return log-probabilities (B, T, n) over the real items; padding is not scored.

        Args:
            facets: what `facets` gave.
            weight: (n + 1, d) output embeddings, the last row padding's.
            context: the items read and the positions scored.
        """
        return F.log_softmax(self.logits(facets, weight, context), dim=-1)

    def nll(self, facets: Facets, weight: torch.Tensor, context: Context, targets: torch.Tensor) -> torch.Tensor:
        """Return the sum of −log p(target) over the targets (B, T) that are not −1."""
        logits = self.logits(facets, weight, context)
        return F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=-1, reduction="sum")

    def logits(self, facets: Facets, weight: torch.Tensor, context: Context) -> torch.Tensor:
        """Return logits (B, T, n) over the real items; arguments as in `log_probs`."""
        z = torch.empty(0)
        for partition in self.partitions:
            z = partition.score(z, facets, weight, context)
        return z[..., :-1]

    def _query(self, states: torch.Tensor) -> torch.Tensor:
        """Return q (B, L, d), or with Mi (B, L, 2d): [h_t ; GELU(M · the states around t)]."""
        top = states[:, :, -1]
        if self.mix is None:
            return top
        deep = states[:, :, -self.depth :].flatten(2)  # (B, L, depth · d)
        around = [F.pad(deep, (0, 0, back, 0))[:, : deep.shape[1]] for back in range(WINDOW + 1)]
        return torch.cat([top, F.gelu(self.mix(torch.cat(around, dim=2)), approximate="tanh")], dim=2)
