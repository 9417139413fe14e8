"""f_theta in MLX, from the folder that the torch one saved."""

from __future__ import annotations

import json
from pathlib import Path

import mlx.core as mx

from bridge.errors import UsageError
from workloads.shared.restored.projection import CONFIG_NAME, WEIGHTS_NAME

Pair = tuple[mx.array, mx.array]


class PortedProjection:
    """The linear maps of `FThetaProjection`, under the same names."""

    def __init__(self, weights: dict[str, mx.array], widths: dict[int, int]) -> None:
        self.weights = weights
        self.widths = widths

    @classmethod
    def load(cls, folder: Path, *, dtype: mx.Dtype) -> PortedProjection:
        """What `FThetaProjection.save` wrote, as `dtype`.

        Raises:
            UsageError: a file is missing, or the weights do not fit the config.
        """
        try:
            document = json.loads((folder / CONFIG_NAME).read_text("utf-8"))
            widths = {int(layer): int(width) for layer, width in document["widths"].items()}
            stored = mx.load(str(folder / WEIGHTS_NAME))
            weights = {name: stored[name].astype(dtype) for name in _list_names(widths)}
            for layer, width in widths.items():
                for part in "kv":
                    shape = weights[f"decoders_{part}.{layer}.weight"].shape
                    if tuple(shape) != (width, document["rank"]):
                        raise ValueError(f"decoder {part} of layer {layer} is {tuple(shape)}")
        except (OSError, ValueError, KeyError, RuntimeError) as error:
            raise UsageError(f"no projection: {error}", where=str(folder)) from error
        mx.eval(weights)
        return cls(weights, widths)

    def encode(self, keys: mx.array, values: mx.array) -> Pair:
        """Latents (B, T, rank) of K and of V from drafter features (B, T, features) each."""
        return self._apply("encoder_k", keys), self._apply("encoder_v", values)

    def decode(self, layer: int, latents: Pair) -> Pair:
        """Raw K and V of one verifier layer, (B, T, width) each."""
        return (
            self._apply(f"decoders_k.{layer}", latents[0]),
            self._apply(f"decoders_v.{layer}", latents[1]),
        )

    def swapped(self) -> PortedProjection:
        """The same with K and V of every decoder mistaken for one another: a planted fault."""
        other = {"decoders_k": "decoders_v", "decoders_v": "decoders_k"}
        weights = {}
        for name, value in self.weights.items():
            part, _, rest = name.partition(".")
            weights[f"{other.get(part, part)}.{rest}"] = value
        return PortedProjection(weights, self.widths)

    def _apply(self, name: str, inputs: mx.array) -> mx.array:
        return inputs @ self.weights[f"{name}.weight"].T


def _list_names(widths: dict[int, int]) -> list[str]:
    names = ["encoder_k.weight", "encoder_v.weight"]
    for layer in widths:
        names += [f"decoders_k.{layer}.weight", f"decoders_v.{layer}.weight"]
    return names
