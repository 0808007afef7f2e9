"""The commands that list what a study can name: targets, methods, activations."""

from __future__ import annotations

import json
import re

import pytest

from hpcsweep.approx import reference
from hpcsweep.approx.models.activations import ACTIVATIONS
from hpcsweep.approx.targets import REGISTRY
from hpcsweep.approx.training import optimizers
from hpcsweep.config import DATA
from tests.conftest import Run

NAMES = {"targets": {*REGISTRY, DATA}, "methods": {*optimizers.REGISTRY, "direct"}, "activations": set(ACTIVATIONS)}


@pytest.mark.parametrize("kind", NAMES)
def test_everything_in_the_registry_is_listed_with_a_formula(hpcsweep: Run, kind: str) -> None:
    known = json.loads(hpcsweep(kind, "--json").stdout)
    assert set(known) == NAMES[kind] and all(entry["formula"] and entry["text"] for entry in known.values())
    heading, *lines = hpcsweep(kind).stdout.splitlines()
    assert heading.startswith("name ") and {line.split()[0] for line in lines} == NAMES[kind]
    assert all(known[line.split()[0]]["formula"] in line for line in lines)


def test_franke_in_detail(hpcsweep: Run) -> None:
    told = hpcsweep("targets", "franke").stdout
    for part in ("3/4 exp(-((9x - 2)^2", r"dimension +2\n", r"domain +\[0, 1\]\^2\n", r"smoothness +smooth\n"):
        assert re.search(part, told) if "+" in part and "\\" in part else part in told, told
    one = json.loads(hpcsweep("targets", "franke", "--json").stdout)
    assert one["name"] == "franke" and one["domain"] == [[0.0, 1.0], [0.0, 1.0]] and one["smoothness"] == "inf"
    wrong = hpcsweep("targets", "frank")
    assert wrong.returncode == 2 and "targets: unknown name 'frank'. Did you mean 'franke'? Allowed: " in wrong.stderr


def test_the_target_data_says_what_it_requires(hpcsweep: Run) -> None:
    shown = hpcsweep("targets", "data").stdout
    for part in (r"dimension +any\n", r"domain +of the file\n", r"smoothness +not known\n", r"file +required\n"):
        assert re.search(part, shown), shown
    assert re.search(r"held_out +by default 0.2\n", shown) and re.search(r"seed +by default 0\n", shown)
    known = json.loads(hpcsweep("targets", "data", "--json").stdout)
    assert known["domain"] == [] and known["smoothness"] == "nan" and known["parameters"]["output"] is None


def test_options_of_a_method_have_their_defaults(hpcsweep: Run) -> None:
    told = hpcsweep("methods", "adam").stdout
    assert re.search(r"beta1 +by default 0.9\n", told) and "needs" in told and "weight_decay  " not in told
    assert "weight_decay  by default" in re.sub(" +by", "  by", hpcsweep("methods", "adamw").stdout)


def test_domains_and_smoothness_in_words() -> None:
    known = reference.targets()
    assert reference.domain(known["feynman_grating"]["domain"], [3]) == "[1, 2] x [2, 5] x [1, 5]"
    assert reference.domain(known["exp_cos"]["domain"], None) == "[-1, 1]^d"
    assert reference.domain(known["logsin"]["domain"], [1]) == "[-1, 1]"
    words = {name: reference.smoothness(known[name]["smoothness"]) for name in ("exp_cos", "absolute", "halfspace")}
    assert words == {"exp_cos": "smooth", "absolute": "1 bounded derivative", "halfspace": "jumps"}
    assert reference.smoothness(0.0) == "continuous" and reference.smoothness(2.0) == "2 bounded derivatives"
