"""`python -m workloads.shared.convert --gguf FILE --out DIR`: GGUF weights as a plain model folder.

A GGUF file loads in about 14 s, the safetensors that come out of it in about 1 s. Quantised
values are written as the float32 numbers that they stand for, so nothing is lost.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bridge.errors import KakeyaError, MissingPartError, UsageError


def convert(gguf: Path, out: Path) -> None:
    """Write the model and tokenizer inside `gguf` to the new folder `out`.

    The folder appears whole or not at all, and its bytes depend on the file and on the versions
    of transformers and safetensors alone.

    Raises:
        UsageError: `gguf` is no file that transformers can read, or `out` exists.
        MissingPartError: a package that reads GGUF is not installed.
    """
    if not gguf.is_file():
        raise UsageError("no such file", where=str(gguf), remedy="give --gguf a .gguf file")
    if out.exists():
        raise UsageError("exists already", where=str(out), remedy=f"rm -r {out}, and convert again")
    out.parent.mkdir(parents=True, exist_ok=True)
    model, tokenizer = _load(gguf)
    staging = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    try:
        _rebuild(model).save_pretrained(staging)
        tokenizer.save_pretrained(staging)
        _settle(staging)
        os.rename(staging, out)
    except OSError as error:
        raise UsageError(f"cannot be written: {error.strerror}", where=str(out)) from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _load(gguf: Path) -> tuple[Any, Any]:
    try:
        import torch
        import transformers

        if not sys.stderr.isatty():
            transformers.utils.logging.disable_progress_bar()
        model = transformers.AutoModelForCausalLM.from_pretrained(
            gguf.parent, gguf_file=gguf.name, dtype=torch.float32, local_files_only=True
        )
        tokenizer = transformers.AutoTokenizer.from_pretrained(
            gguf.parent, gguf_file=gguf.name, local_files_only=True
        )
    except ImportError as error:
        raise MissingPartError(
            f"reading GGUF needs a package: {error}",
            where=str(gguf),
            remedy="pip install 'kakeya-remote[workloads]'",
        ) from error
    except (ValueError, OSError, KeyError) as error:
        # transformers says "accelerate is required" with a ValueError.
        missing = "is required" in str(error)
        kind = MissingPartError if missing else UsageError
        raise kind(
            f"transformers cannot read it: {error}",
            where=str(gguf),
            remedy="pip install 'kakeya-remote[workloads]'" if missing else "",
        ) from error
    return model, tokenizer


def _rebuild(model: Any) -> Any:
    """The same weights in a model that knows nothing of GGUF; such a one alone can be saved."""
    import torch

    config = type(model.config)(
        **{
            key: value
            for key, value in model.config.to_dict().items()
            if key not in ("quantization_config", "_name_or_path")
        }
    )
    with torch.device("meta"):
        plain = type(model)(config)
    state = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
    plain.load_state_dict(state, assign=True)
    plain.tie_weights()
    plain.generation_config = model.generation_config
    return plain


def _settle(folder: Path) -> None:
    """Readable for all, as a cache is shared; on the disk before the rename names it."""
    for path in sorted(folder.rglob("*")):
        path.chmod(0o644 if path.is_file() else 0o755)
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
    folder.chmod(0o755)


def main(argv: Sequence[str] | None = None) -> int:
    """Convert one file; returns the exit code: 0 done, 2 a path or file is wrong."""
    parser = argparse.ArgumentParser(prog="python -m workloads.shared.convert", description=__doc__)
    parser.add_argument("--gguf", type=Path, required=True, help="the GGUF file to read")
    parser.add_argument("--out", type=Path, required=True, help="the folder to make")
    arguments = parser.parse_args(argv)
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    try:
        convert(arguments.gguf.resolve(), arguments.out.resolve())
    except KakeyaError as error:
        sys.stderr.write(f"{error}\n")
        if error.remedy:
            sys.stderr.write(f"  try: {error.remedy}\n")
        return int(error.exit_code)
    return 0


if __name__ == "__main__":
    sys.exit(main())
