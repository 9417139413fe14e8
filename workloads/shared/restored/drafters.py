"""A drafter made of the verifier's own first layers."""

from __future__ import annotations

import copy
from typing import Any

from torch import nn

from workloads.shared.layers import find_decoder


def truncate(model: Any, depth: int) -> Any:
    """A copy of the first `depth` layers of `model`, as a model of the same class."""
    decoder = find_decoder(model)
    layers = decoder.layers
    decoder.layers = nn.ModuleList(layers[:depth])
    try:
        short = copy.deepcopy(model)
    finally:
        decoder.layers = layers
    inner = find_decoder(short)
    for config in {id(one): one for one in (short.config, inner.config)}.values():
        text = config.get_text_config(decoder=True)
        text.num_hidden_layers = depth
        if getattr(text, "layer_types", None) is not None:
            text.layer_types = list(text.layer_types)[:depth]
    return short
