"""f_theta: from a drafter's raw K/V to the raw K/V of every verifier layer, through a low rank.

    drafter features (B, T, sum of its layers' widths)
      -> encoder -> latents (B, T, rank) -> one decoder for each verifier layer -> (B, T, width)

K and V have their own encoder and decoders, all without bias. The latents are what is held for
an evicted position: they are shared by all layers.

Source: the seed's `inference_engine/v04/f_theta.py` (pull request 107 of its repository).
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from bridge.errors import UsageError

CONFIG_NAME = "f_theta_config.json"
WEIGHTS_NAME = "f_theta.safetensors"


@dataclass(frozen=True, slots=True)
class FThetaConfig:
    """The shape of a projection.

    Attributes:
        features: width of the drafter's raw K (as of its V) over all its layers.
        rank: width of the latents of K, and of those of V.
        widths: verifier layer to the width of its raw K; only these layers can be restored.
    """

    features: int
    rank: int
    widths: dict[int, int]


class FThetaProjection(nn.Module):  # type: ignore[misc]
    """The projection; nothing but linear maps."""

    def __init__(self, config: FThetaConfig, *, seed: int = 0) -> None:
        super().__init__()
        self.config = config
        generator = torch.Generator().manual_seed(seed)
        self.encoder_k = _make_linear(config.features, config.rank, generator)
        self.encoder_v = _make_linear(config.features, config.rank, generator)
        self.decoders_k = nn.ModuleDict()
        self.decoders_v = nn.ModuleDict()
        for layer, width in config.widths.items():
            self.decoders_k[str(layer)] = _make_linear(config.rank, width, generator)
            self.decoders_v[str(layer)] = _make_linear(config.rank, width, generator)

    def encode(self, keys: torch.Tensor, values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Latents (B, T, rank) of K and of V from drafter features (B, T, features) each."""
        return self.encoder_k(keys), self.encoder_v(values)

    def decode(
        self, layer: int, latents: tuple[torch.Tensor, torch.Tensor]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Raw K and V of one verifier layer, (B, T, width) each."""
        name = str(layer)
        return self.decoders_k[name](latents[0]), self.decoders_v[name](latents[1])

    def forward(
        self, keys: torch.Tensor, values: torch.Tensor
    ) -> dict[int, tuple[torch.Tensor, torch.Tensor]]:
        """Raw K and V of every verifier layer."""
        latents = self.encode(keys, values)
        return {layer: self.decode(layer, latents) for layer in self.config.widths}

    def save(self, folder: Path) -> None:
        """Write config and weights into `folder`."""
        folder.mkdir(parents=True, exist_ok=True)
        document = asdict(self.config) | {
            "widths": {str(layer): width for layer, width in self.config.widths.items()}
        }
        (folder / CONFIG_NAME).write_text(json.dumps(document, indent=1) + "\n", "utf-8")
        save_file(
            {name: tensor.contiguous() for name, tensor in self.state_dict().items()},
            folder / WEIGHTS_NAME,
        )

    @classmethod
    def load(cls, folder: Path) -> FThetaProjection:
        """The projection that `save` wrote.

        Raises:
            UsageError: a file is missing, or the weights do not fit the config.
        """
        try:
            document = json.loads((folder / CONFIG_NAME).read_text("utf-8"))
            config = FThetaConfig(
                document["features"],
                document["rank"],
                {int(layer): width for layer, width in document["widths"].items()},
            )
            projection = cls(config)
            projection.load_state_dict(load_file(folder / WEIGHTS_NAME))
        except (OSError, ValueError, KeyError, RuntimeError) as error:
            raise UsageError(f"no projection: {error}", where=str(folder)) from error
        return projection


def _make_linear(inputs: int, outputs: int, generator: torch.Generator) -> nn.Linear:
    linear = nn.Linear(inputs, outputs, bias=False)
    with torch.no_grad():
        linear.weight.normal_(0.0, inputs**-0.5, generator=generator)
    return linear
