"""Characters of real texts: a fixed alphabet, a held-out tail, batches that a name determines."""

from __future__ import annotations

import string
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from bridge import canonical
from bridge.errors import UsageError

ALPHABET = string.ascii_lowercase + string.digits + " \n.,;:'\"!?()-"
_OTHER = " "
_HELD_SHARE = 0.1
_MIN_CHARACTERS = 5_000


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows of text: `inputs` and the characters that follow them, both (B, T)."""

    inputs: Tensor
    targets: Tensor

    @property
    def digest(self) -> str:
        """`sha256:<hex>` of the exact rows."""
        return canonical.digest([self.inputs.tolist(), self.targets.tolist()])


@dataclass(frozen=True, slots=True)
class Text:
    """A text as characters, in two parts that share none."""

    train: Tensor
    held: Tensor

    @classmethod
    def read(cls, folder: Path, *, device: str = "cpu") -> Text:
        """All `*.txt` below a folder, in the order of their names.

        Raises:
            UsageError: fewer than 5,000 characters are there.
        """
        files = sorted(folder.rglob("*.txt"))
        text = "\n".join(file.read_text("utf-8", errors="replace") for file in files)
        if len(text) < _MIN_CHARACTERS:
            raise UsageError(
                f"{len(text)} characters in {len(files)} files, {_MIN_CHARACTERS} are needed",
                where=str(folder),
            )
        return cls.encode(text, device=device)

    @classmethod
    def encode(cls, text: str, *, device: str = "cpu") -> Text:
        """The text in small letters; characters outside the alphabet become spaces."""
        places = {character: index for index, character in enumerate(ALPHABET)}
        other = places[_OTHER]
        ids = torch.tensor(
            [places.get(character, other) for character in text.lower()], device=device
        )
        cut = int(len(ids) * (1 - _HELD_SHARE))
        return cls(ids[:cut], ids[cut:])

    def draw(self, name: Sequence[object], *, rows: int, length: int, held: bool = False) -> Batch:
        """`rows` windows of `length` characters at places that `name` determines."""
        part = self.held if held else self.train
        source = make_generator(*name)
        starts = torch.randint(0, len(part) - length - 1, (rows,), generator=source)
        windows = torch.stack([part[start : start + length + 1] for start in starts.tolist()])
        return Batch(windows[:, :-1], windows[:, 1:])


def make_generator(*name: object) -> torch.Generator:
    """A random source that depends on its name alone."""
    digest = canonical.digest([str(part) for part in ("equilibrium/1", *name)])
    generator = torch.Generator()
    generator.manual_seed(int(digest.removeprefix("sha256:")[:15], 16))
    return generator
