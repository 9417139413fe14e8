"""A program `gh` that answers `gh api PATH` as the real one does, from a file of answers.

Source: gh 2.x: JSON on stdout; of an HTTP error the body on stdout, `gh: ... (HTTP nnn)` on stderr
and exit code 1; exit code 4 where nobody is logged in.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_PROGRAM = """\
#!{python}
import json, sys
known = json.load(open({answers!r}))
if len(sys.argv) != 3 or sys.argv[1] != "api" or sys.argv[2].startswith(("/", "-", "http")):
    sys.exit("unknown command")
if known is None:
    sys.stderr.write("To get started with GitHub CLI, please run:  gh auth login\\n")
    sys.exit(4)
answer = known.get(sys.argv[2], 404)
if isinstance(answer, int):
    words = {{403: "Must have admin rights to Repository.", 404: "Not Found"}}
    print(json.dumps({{"message": words.get(answer, "Server Error"), "status": str(answer)}}))
    sys.stderr.write(f"gh: {{words.get(answer, 'Server Error')}} (HTTP {{answer}})\\n")
    sys.exit(1)
print(json.dumps(answer))
"""


def make_gh(folder: Path, answers: Mapping[str, Any] | None) -> str:
    """The path of a `gh` that knows these answers by path, a number for an HTTP error.

    None stands for a `gh` at which nobody has logged in.
    """
    folder.mkdir(parents=True, exist_ok=True)
    told = folder / "answers.json"
    told.write_text(json.dumps(answers))
    program = folder / "gh"
    program.write_text(_PROGRAM.format(python=sys.executable, answers=str(told)))
    program.chmod(0o755)
    return str(program)
