"""A preset that has every key and every kind of param."""

from __future__ import annotations

from typing import Any

import yaml

from presets.definition import Preset, parse_preset

FULL: dict[str, Any] = {
    "name": "full",
    "description": "Every key that a preset may have.",
    "argv": ["{python}", "-m", "workloads", "x", "--job", "{job}", "{where}", "${ENV:MODEL}"],
    "config": {
        "samples": "{samples}",
        "rate": "{rate}",
        "nested": [{"mode": "{mode}", "fixed": 3}, "plain", "${ENV:MODEL}"],
        "loud": "{loud}",
        "tag": "{tag}",
    },
    "inputs": {"weights": "asset:smollm2", "local": "${ENV:MODEL}", "base": "{base}"},
    "params": {
        "samples": {"kind": "int", "min": 1, "max": 50, "default": 4, "doc": "per cell"},
        "rate": {"kind": "number", "min": 0, "max": 1.5, "default": 0.5, "doc": "share"},
        "mode": {"kind": "enum", "values": ["a", "b"], "default": "b", "doc": "mode"},
        "loud": {"kind": "bool", "default": False, "doc": "prints more"},
        "tag": {
            "kind": "string",
            "pattern": "[a-z]+",
            "max_length": 8,
            "example": "abc",
            "doc": "t",
        },
        "where": {"kind": "path", "prefix": "tests", "doc": "what is run"},
        "base": {"kind": "artifact", "doc": "of another job"},
    },
    "labels": ["gpu", "h200"],
    "resources": {"cpus": 2, "memory_mb": 1024, "gpus": 1, "gpu_memory_mb": 1000},
    "limits": {"wall_s": 60, "memory_mb": 2048, "output_mb": 4, "disk_mb": 64, "grace_s": 2},
    "executors": ["slurm", "local"],
    "env": ["HF_HOME"],
    "secrets": ["HF_TOKEN"],
    "retry": {"exit_codes": [75]},
    "checkpoint": {"max_mb": 64, "every_s": 300},
    "plan": {"seeds": [0, 1], "n": "{samples}", "arms": ["a"], "dims": {"ctx": [1, 2]}},
    "metrics": [{"name": "recall", "reducer": "proportion", "by": ["arm", "ctx"]}],
    "gates": [{"id": "good", "rule": {"cmp": [{"m": "recall", "arm": "a"}, ">=", "0.9"]}}],
    "plots": [{"kind": "ladder", "metric": "recall", "x": "ctx"}],
}


def parse(document: Any, name: str = "full.yaml") -> Preset:
    return parse_preset(yaml.safe_dump(document, sort_keys=False).encode(), name)
