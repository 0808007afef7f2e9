#!/usr/bin/env python
"""Brackets against 50 digits: random networks and expression trees, both ends of each, and bounds that are too small.

Networks have 0 to 12 hidden layers, all activations, weights of 1e-300 to 1e6, output layers of up to 1e10 that cancel,
layers that are known or torch code, also residual; some are models that are fitted directly. Trees use all operations
with a rule. The domains have 1 to 6 dimensions and are shifted to 1e8, or as narrow as 1e-9. The values of both
functions are computed by mpmath from formulas, to 35 certain digits, at the worst point of each measurement, at corners
and elsewhere. Double-doubles must contain these errors, no lower end may be above the error at its point, no upper end
below any error; nor may any bound be proved that is below the largest of them, by Taylor models of a random order or by
lines, from the lower end or from (1 - 1e-9) times that error. Prints one JSON line per figure; the exit code is 1 if
anything is false, and standard error says which trial. --quick takes under 50 s.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import hpcsweep  # noqa: F401 - before torch: the code path of MKL

# isort: split

import torch

from hpcsweep.approx.supnorm.approximations import ErrorFunction
from hpcsweep.approx.supnorm.functions import adapted
from hpcsweep.errors import PluginError
from scripts.json_lines import show
from scripts.soundness import models, networks, trees
from scripts.soundness.proofs import violations
from scripts.soundness.subject import Subject
from scripts.soundness.trees import Function

ENDS = (
    *((-1.0, 1.0),) * 4,
    *((0.1, 0.7), (-3.0, 4.1), (1e4, 1e4 + 1), (1e8, 1e8 + 1), (0.3, 0.3 + 1e-9), (-1e-9, 1e-9), (1e-300, 2e-300)),
)
DIMENSIONS = (1, 1, 1, 2, 2, 3, 3, 4, 5, 6)
FLOORS = {"closed": 0.3}  # shares of all brackets


def main(arguments: Sequence[str] | None = None) -> int:
    """Try everything; return 1 if anything is false."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="50 of each")
    parser.add_argument("--count", type=int, default=2000, metavar="N", help="so many networks, and trees")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", metavar="TRIAL", help='one trial, such as "tree 17"')
    asked = parser.parse_args(arguments)
    torch.set_num_threads(1)
    count = 50 if asked.quick else asked.count
    trials = [f"{kind} {number}" for number in range(count) for kind in KINDS] if not asked.only else [asked.only]
    counts, begun, false = Counter[str](), time.process_time(), 0
    for number, trial in enumerate(trials, 1):
        for line in run(trial, asked.seed, counts):
            false += 1
            print(f'--seed {asked.seed} --only "{trial}": {line}', file=sys.stderr, flush=True)
        if number % 100 == 0:
            print(f"{number} of {len(trials)}, {time.process_time() - begun:.0f} s", file=sys.stderr, flush=True)
    for kind in KINDS:
        show(f"{kind}s", counts[kind], "trials", count)
    for name in ("closed", "budget", "floor", "no rule", "off", "refused", "evaluated lower ends", "without truth"):
        show(name, counts[name], "trials", FLOORS.get(name, 0.0) * len(trials) or None)
    show("false bounds tried", counts["false bounds tried"], "attempts")
    show("seconds", time.process_time() - begun, "s")
    show("violations", false, "violations", 0)
    return int(false > 0)


def run(trial: str, seed: int, counts: Counter[str]) -> list[str]:
    """Return what is false of one trial."""
    generator, kind = random.Random(f"{seed} {trial}"), trial.split()[0]
    counts[kind] += 1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return list(violations(KINDS[kind](generator), generator, counts))
        except PluginError:  # values that seem to depend on the other points, of huge weights
            counts["refused"] += 1
            return []


def of_a_network(generator: random.Random) -> Subject:
    """Return a network, or two, or one in torch code, or a model that is fitted directly, and a target."""
    dimension, domain = drawn(generator)
    target, kind = trees.tree(generator, dimension, generator.choice((0, 1, 1))), generator.random()
    if kind < 0.1 and dimension <= 3 and all(high - low > 1e-12 for low, high in domain):
        return subject(target, models.direct(generator, domain), domain)
    if kind < 0.35:
        return subject(target, networks.code(generator, dimension), domain)
    terms = tuple(networks.dense(generator, dimension) for _ in range(generator.choice((1, 1, 2))))
    return subject(target, networks.of_terms(terms), domain, terms)


def of_a_tree(generator: random.Random) -> Subject:
    """Return a tree and zero, or another tree, or nearly itself."""
    dimension, domain = drawn(generator)
    target = trees.tree(generator, dimension, generator.choice((1, 1, 2, 2, 3)))
    kind, other = generator.random(), trees.tree(generator, dimension, 1)
    if kind < 0.4:
        return subject(target, trees.by_code(lambda x: 0.0 * x[:, 0]), domain)
    if kind < 0.6:
        return subject(target, other, domain)
    small = generator.choice((1e-3, 1e-7, 1e-12))
    nearly = Function(
        lambda x: target.torch(x) + small * other.torch(x),
        lambda *point: target.real(*point) + small * other.real(*point),
    )
    return subject(target, nearly, domain)


KINDS: dict[str, Callable[[random.Random], Subject]] = {"network": of_a_network, "tree": of_a_tree}


def drawn(generator: random.Random) -> tuple[int, tuple[tuple[float, float], ...]]:
    """Return a dimension and a domain."""
    dimension, ends = generator.choice(DIMENSIONS), generator.choice(ENDS)
    return dimension, tuple(ends if generator.random() < 0.8 else generator.choice(ENDS) for _ in range(dimension))


def subject(target: Function, approximant: Function, domain: tuple, terms: tuple = ()) -> Subject:
    """Return both functions and their difference."""
    functions = ErrorFunction(*(adapted(function.torch, domain) for function in (target, approximant)), domain, terms)
    return Subject(functions, lambda *point: target.real(*point) - approximant.real(*point))


if __name__ == "__main__":
    sys.exit(main())
