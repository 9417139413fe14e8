from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from bridge import canonical, schema
from bridge.errors import ManifestError
from presets.definition import CheckpointRule, parse_preset
from presets.params import KINDS
from tests.full_preset import FULL, parse
from tests.hostile import PRESETS, put


def test_every_key_is_read() -> None:
    preset = parse(FULL)
    assert preset.name == "full"
    assert list(preset.params) == list(FULL["params"])
    assert [param.kind for param in preset.params.values()] == list(KINDS)
    assert preset.labels == ("gpu", "h200")
    assert preset.limits.grace_s == 2
    assert preset.resources.gpus == 1
    assert preset.executors == ("slurm", "local")
    assert preset.retry_exit_codes == (75,)
    assert preset.checkpoint == CheckpointRule(max_mb=64, every_s=300)
    assert (preset.env, preset.secrets) == (("HF_HOME",), ("HF_TOKEN",))
    assert preset.document == FULL


def test_the_digest_is_of_the_meaning_not_of_the_layout() -> None:
    text = yaml.safe_dump(FULL, sort_keys=True, default_flow_style=True)
    again = parse_preset(b"# a comment\n" + text.encode(), "full.yaml")
    assert again.digest == parse(FULL).digest == canonical.digest(FULL)
    assert parse(put(FULL, ("limits", "wall_s"), 61)).digest != again.digest


def test_a_preset_is_frozen_all_the_way_down() -> None:
    preset = parse(FULL)
    with pytest.raises(TypeError):
        preset.config["samples"] = 9  # type: ignore[index]
    with pytest.raises(TypeError):
        preset.gates[0]["rule"] = {}  # type: ignore[index]
    preset.document["name"] = "changed"
    assert preset.document["name"] == "full"


CONTRADICTIONS: tuple[tuple[tuple[str | int, ...], Any, str], ...] = (
    (("name",), "other", "$.name: 'other' differs from the file's name 'full'"),
    (("argv", 0), "{where}", "$.argv[0]: the program is fixed"),
    (("argv", 0), "${ENV:SHELL}", "$.argv[0]: the program is fixed"),
    (("argv", 0), "{job}", "$.argv[0]: {job} is no program"),
    (("argv", 0), "sh", "$.argv[0]: 'sh' starts other programs"),
    (("argv", 0), "/usr/bin/env", "$.argv[0]: '/usr/bin/env' starts other programs"),
    (("argv", 1), "{python}", "$.argv[1]: {python} stands first"),
    (("argv", 1), "{nowhere}", "$.argv[1]: no param 'nowhere' is declared"),
    (("argv", 1), "--tests={where}", "$.argv[1]: braces stand for one whole token"),
    (("argv", 1), "{where}\n", "$.argv[1]: "),
    (("argv", 1), "${HOME}", "$.argv[1]: braces stand for one whole token"),
    (("argv", 1), "${ENV:HF_TOKEN}", "$.argv[1]: HF_TOKEN is a secret"),
    (("argv", 1), "{base}", "$.argv[1]: artifact 'base' is an input"),
    (("config", "fixed"), "{out}", "$.config.fixed: {out} stands in argv only"),
    (("config", "a b"), "{nowhere}", "$.config['a b']: no param 'nowhere'"),
    (("inputs", "weights"), "{tag}", "$.inputs.weights: param 'tag' is no artifact"),
    (("inputs", "weights"), "../x", "$.inputs.weights: "),
    (("params", "spare"), {"kind": "bool", "doc": "x"}, "$.params.spare: declared, but used in"),
    (("params", "job"), {"kind": "bool", "doc": "x"}, "$.params.job: the name is reserved"),
    (("params", "Loud"), {"kind": "bool", "doc": "x"}, "$.params: 'Loud' is not a lower-case name"),
    (("params", "loud", "kind"), "flag", "$.params.loud.kind: 'flag' is not one of"),
    (("params", "loud", "min"), 1, "$.params.loud: Additional properties"),
    (("params", "samples", "default"), 51, "$.params.samples: default: 51 lies outside 1 to 50"),
    (("params", "samples", "default"), 4.0, "$.params.samples.default: 4.0 is not of type"),
    (("params", "samples", "min"), 60, "$.params.samples: min 60 is greater than max 50"),
    (("params", "rate", "default"), True, "$.params.rate.default: True is not of type 'number'"),
    (("params", "mode", "default"), "c", "$.params.mode: default: 'c' is none of a | b"),
    (("params", "mode", "values"), ["a", 1], "$.params.mode.values"),
    (("params", "tag", "pattern"), "[", "$.params.tag: pattern: unterminated"),
    (("params", "tag", "example"), "ABC", "$.params.tag: example: 'ABC' does not match"),
    (("params", "tag", "default"), "-rf", "$.params.tag: default: '-rf' starts with a dash"),
    (("params", "where", "prefix"), "../up", "$.params.where: prefix: '../up' leaves its folder"),
    (("params", "where", "default"), "docs/x", "$.params.where: default: 'docs/x' does not lie"),
    (("labels",), [], "$.labels: "),
    (("labels",), ["GPU"], "$.labels[0]: 'GPU' is not lower-case words"),
    (("limits", "memory_mb"), 512, "$.limits.memory_mb: 512 is less than the 1024"),
    (("limits", "output_mb"), 65, "$.limits.output_mb: 65 is more than disk_mb 64"),
    (("limits", "grace_s"), 61, "$.limits.grace_s: 61 is more than wall_s 60"),
    (("limits", "wall_s"), 0, "$.limits.wall_s: 0 is less than the minimum of 1"),
    (("limits", "wall_s"), 1.0, "$.limits.wall_s: 1.0 is not of type 'integer'"),
    (("limits", "walls_s"), 1, "$.limits: Additional properties"),
    (("resources", "gpus"), 0, "$.resources.gpu_memory_mb: needs gpus"),
    (("executors",), ["bash"], "$.executors[0]: 'bash' is not one of"),
    (("executors",), ["local", "local"], "$.executors: holds an item twice"),
    (("env",), ["LD_PRELOAD"], "$.env[0]: LD_PRELOAD is the runner's own"),
    (("env",), ["PYTHONPATH"], "$.env[0]: PYTHONPATH is the runner's own"),
    (("env",), ["GIT_SSH_COMMAND"], "$.env[0]: GIT_SSH_COMMAND is the runner's own"),
    (("env",), ["HF_TOKEN"], "$.env[0]: HF_TOKEN is listed under secrets too"),
    (("env",), ["lower"], "$.env[0]: 'lower' is not a name of a variable"),
    (("secrets",), ["PATH"], "$.secrets[0]: PATH is the runner's own"),
    (("retry", "exit_codes"), [0], "$.retry.exit_codes[0]: 0 is less than the minimum of 1"),
    (("plan", "n"), "{nothing}", "$.plan.n: no param 'nothing'"),
    (("plan", "seeds"), ["${ENV:SEED}"], "$.plan.seeds[0]: a plan names params alone"),
    (("plan", "seeds"), [0, 0], "$.plan.seeds: holds an item twice"),
    (("metrics", 0, "reducer"), "average", "$.metrics[0].reducer: one of"),
    (("gates", 0, "rule", "cmp", 0, "m"), "recal", "$.gates[0].rule.cmp[0].m: no metric 'recal'"),
    (("gates", 0, "rule"), {"exec": "x"}, "$.gates[0].rule.exec: unknown key"),
    (("gates", 0, "needs"), ["control"], "$.gates[0].needs: no gate 'control'"),
    (("plots", 0, "kind"), "pie", "$.plots[0].kind: one of"),
    (("argvs",), [], "$: Additional properties"),
)


@pytest.mark.parametrize(
    ("where", "value", "problem"), CONTRADICTIONS, ids=lambda part: str(part)[:60]
)
def test_a_contradiction_is_named_at_its_path_and_line(
    where: tuple[str | int, ...], value: Any, problem: str
) -> None:
    with pytest.raises(ManifestError) as caught:
        parse(put(FULL, where, value))
    (found,) = [line for line in caught.value.problems if line.startswith(problem)][:1] or [None]
    assert found is not None, str(caught.value)
    assert re.search(r"\(line [0-9]+\)$", found)
    assert caught.value.remedy


def test_every_fault_is_named_at_once() -> None:
    broken = put(put(FULL, ("limits", "memory_mb"), 512), ("params", "loud"), {"kind": "bool"})
    with pytest.raises(ManifestError) as caught:
        parse(put(broken, ("executors",), ["bash"]))
    assert len(caught.value.problems) == 2  # the shape first; contradictions once it is right


def test_a_required_string_needs_an_example_that_fits() -> None:
    document = json.loads(json.dumps(FULL))
    del document["params"]["tag"]["example"]
    with pytest.raises(ManifestError, match="give one as `example`"):
        parse(document)


def test_absent_parts_are_empty() -> None:
    minimal = {
        "name": "minimal",
        "description": "The least.",
        "argv": ["/usr/bin/true"],
        "labels": ["any"],
        "resources": {"cpus": 1, "memory_mb": 16},
        "limits": {"wall_s": 60, "memory_mb": 16, "output_mb": 1, "disk_mb": 1},
        "executors": ["local"],
    }
    preset = parse(minimal, "minimal.yaml")
    assert (dict(preset.config), dict(preset.inputs), dict(preset.params)) == ({}, {}, {})
    assert (preset.env, preset.secrets, preset.gates, preset.plan) == ((), (), (), None)
    assert preset.limits.grace_s == 5


def test_the_schemas_know_the_same_executors_and_kinds() -> None:
    preset, request = schema.load("presets", "preset"), schema.load("bridge", "request")
    executors = preset["properties"]["executors"]["items"]["enum"]
    assert executors == request["properties"]["executor"]["enum"]
    assert preset["$defs"]["param"]["properties"]["kind"]["enum"] == list(KINDS)


@pytest.mark.parametrize("path", sorted(PRESETS.glob("*.yaml")), ids=lambda path: path.name)
def test_the_published_schema_takes_every_shipped_file(path: Path) -> None:
    import jsonschema

    kind = "assets" if path.name == "assets.yaml" else "preset"
    published = json.loads((PRESETS / "schemas" / f"{kind}.schema.json").read_text("utf-8"))
    jsonschema.Draft202012Validator.check_schema(published)
    jsonschema.Draft202012Validator(published).validate(yaml.safe_load(path.read_text("utf-8")))
