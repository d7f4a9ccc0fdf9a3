"""Parameter groups: which parameters share their options, under a name that the LR trace shows.

A factory takes the network and returns the groups for the optimizer. Each trainable parameter is in exactly
one group, shared ones too; frozen ones are in none. Group names are unique.
"""

import re
from typing import Any

from torch import nn

# Norms whose parameters may have more dimensions than one; those of all other norms are vectors.
_UNDECAYED = (nn.LayerNorm, nn.RMSNorm, nn.Embedding, nn.EmbeddingBag)
# in_proj_bias, bias_ih_l0; pos_embed, posemb, positional_encoding; but not `composer`.
_UNDECAYED_NAME = re.compile(r"(^|_)(bias|pos(ition(al|s)?)?)(_|emb|$)")


def one_group(network: nn.Module) -> list[dict[str, Any]]:
    """Every trainable parameter, in one group named "all"."""
    return _without_empty([{"params": _trainable(network), "name": "all"}])


def no_decay(network: nn.Module) -> list[dict[str, Any]]:
    """Two groups: "decay" with the optimizer's weight decay, and "no_decay" without any.

    Without: all vectors and scalars (biases, the gains of every norm), biases and positional parameters by
    name, norms and embeddings by type. A matrix that an embedding shares with a head counts as embedding.
    """
    exempt = {
        id(parameter)
        for module in network.modules()
        for name, parameter in module.named_parameters(recurse=False)
        if isinstance(module, _UNDECAYED) or parameter.ndim < 2 or _UNDECAYED_NAME.search(name)
    }
    parameters = _trainable(network)
    return _without_empty(
        [
            {"params": [p for p in parameters if id(p) not in exempt], "name": "decay"},
            {
                "params": [p for p in parameters if id(p) in exempt],
                "name": "no_decay",
                "weight_decay": 0.0,
                # An embedding has the shape of a matrix, but Muon must not take it for one. Other optimizers
                # do not read this key.
                "kind": "adamw",
            },
        ]
    )


def _trainable(network: nn.Module) -> list[nn.Parameter]:
    return [p for p in network.parameters() if p.requires_grad]


def _without_empty(groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [group for group in groups if group["params"]]
