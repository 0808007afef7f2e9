"""What is found out about a user's target before it is used: broken rules, seconds a point, gradients."""

from __future__ import annotations

import contextlib
import os
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, final

import torch
from torch import Tensor
from torch.func import jvp
from torch.overrides import TorchFunctionMode, resolve_name

from hpcsweep.approx.forked import Tell, Unanswered, ask
from hpcsweep.approx.isolation import reseeded, said
from hpcsweep.approx.targets import rules
from hpcsweep.approx.targets.base import Target
from hpcsweep.approx.targets.own import Own
from hpcsweep.errors import PluginError

PATIENCE = "HPCSWEEP_CHECK_SECONDS"  # in the environment
_POINTS = 16  # at which slopes are compared
_STEP, _AGREE = 1e-6, 1e-3  # of difference quotients, in sides of the box; relative difference of slopes
_LONG = 0.2  # seconds: calls that take longer are not repeated to measure them


@dataclass(frozen=True)
class Verdict:
    """What is known of a target; texts say what is wrong, and are empty where all is well.

    Attributes
    ----------
    broken : rules that it breaks, see `rules.check`
    seconds : that a point takes, in a call with 256 of them
    slopes : why it cannot be evaluated where gradients are asked for
    gradients : why its gradients are not those of its values
    curvature : why it has no second derivatives by forward differentiation, which equations ask for
    """

    broken: tuple[str, ...] = ()
    seconds: float = 0.0
    slopes: str = ""
    gradients: str = ""
    curvature: str = ""


def patience() -> float:
    """Return the seconds that a call of a user's target may take while it is checked, 60 unless said otherwise."""
    return float(os.environ.get(PATIENCE) or 60.0)


def examine(make: Callable[[], Own], dtypes: Sequence[torch.dtype] = (torch.float64,)) -> Verdict:
    """Examine a target in a copy of this process, within a time limit for every call.

    `make` makes it. `dtypes`: of the points that it is to be given.
    """
    try:
        answer = ask(lambda tell: _examined(make, dtypes, tell), patience())
    except Unanswered as problem:
        return Verdict((f"it {problem}",))
    if "unmade" in answer:
        with contextlib.suppress(PluginError):  # whoever makes it is told
            make()
            return Verdict((f"it cannot be made in another process, where it is checked: {answer['unmade']}",))
        return Verdict()
    return Verdict(**{**answer, "broken": tuple(answer["broken"])})


def _examined(make: Callable[[], Own], dtypes: Sequence[torch.dtype], tell: Tell) -> dict[str, Any]:
    tell("while it is made")
    try:
        with reseeded(0):
            target = Told(make(), tell)
        with reseeded(1):
            again = Told(make(), tell)
    except PluginError as error:
        return {"unmade": str(error)}
    broken = rules.check(target, dtypes) or rules.repeated(target, again)
    if broken:
        return asdict(Verdict(tuple(broken)))
    points = rules.sample(target)
    verdict = Verdict(
        seconds=_seconds(target, points),
        slopes=(slopes := _slopes(target, points)),
        gradients=slopes or _gradients(target, points[:_POINTS]),
        curvature=_curvature(target, points[:_POINTS]),
    )
    return asdict(verdict)


@final
class Told(Target):
    """A target that tells of its calls."""

    def __init__(self, target: Own, tell: Tell) -> None:
        self._target, self._tell = target, tell
        self.dimension, self.chosen = target.dimension, target.chosen
        self.smoothness, self.lipschitz = target.smoothness, target.lipschitz

    @property
    def domain(self) -> tuple[tuple[float, float], ...]:
        """The box: one (low, high) per axis."""
        return self._target.domain

    def __call__(self, points: Tensor) -> Tensor:
        """Evaluate at points (points, dimension)."""
        gradients = " and asked for gradients" if getattr(points, "requires_grad", False) else ""
        self._tell(f"when it is given {len(points)} points of {points.dtype}{gradients}")
        return self._target(points)


def _seconds(target: Target, points: Tensor) -> float:
    """Return the seconds that a point takes."""
    taken: list[float] = []
    with torch.no_grad():
        while not taken or (sum(taken) < _LONG and len(taken) < 5):
            begun = time.perf_counter()
            target(points)
            taken.append(time.perf_counter() - begun)
    return min(taken) / len(points)


def _slopes(target: Target, points: Tensor) -> str:
    """Return why a target cannot be evaluated where gradients are asked for."""
    try:
        _differentiated(target, points)
    except Exception as error:
        return _raised(error)
    return ""


def _differentiated(target: Target, points: Tensor) -> tuple[Tensor, Tensor | None]:
    with torch.enable_grad():
        variable = points.clone().requires_grad_()
        values = target(variable)
        if not values.requires_grad:
            return values, None
        return values.detach(), torch.autograd.grad(values.sum(), variable, allow_unused=True)[0]


def _gradients(target: Target, points: Tensor) -> str:
    """Return why gradients are not the slopes of the values."""
    low, high = torch.tensor(target.domain, dtype=points.dtype).T
    points = torch.minimum(torch.maximum(points, low + 0.01 * (high - low)), high - 0.01 * (high - low))
    with _Breaks() as breaks:
        _, gradient = _differentiated(target, points)
    gradient = torch.zeros_like(points) if gradient is None else gradient
    if not bool(gradient.isfinite().all()):
        return f"its gradient is not finite at {points[int((~gradient.isfinite()).any(1).nonzero()[0, 0])].tolist()}"
    if target.smoothness < 1 and not breaks.found:
        return ""
    steps = _STEP * (high - low)
    with torch.no_grad():
        quotients = torch.stack(
            [(target(points + step) - target(points - step)) / (2 * step.max()) for step in torch.diag(steps)], dim=1
        )
    size = float(torch.maximum(quotients.abs(), gradient.abs()).max())
    wrong = (gradient - quotients).abs() > _AGREE * size + 1e-9 * size / float(steps.min())
    if not bool((wrong.any(1).sum() > len(points) / 2).item()):  # few of them: kinks
        return ""
    return breaks.found[0] if breaks.found else "its gradient is not the slope of its values"


def _curvature(target: Target, points: Tensor) -> str:
    direction = torch.ones_like(points)
    try:
        jvp(lambda places: jvp(target, (places,), (direction,))[1], (points,), (direction,))
    except Exception as error:
        return _raised(error)
    return ""


class _Breaks(TorchFunctionMode):
    """Finds the calls whose results no longer follow the gradients of their arguments."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_function__(
        self, function: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = function(*args, **(kwargs or {}))
        asked = any(isinstance(value, Tensor) and value.requires_grad for value in _flat(args))
        number = not isinstance(result, Tensor) and function in _NUMBERS
        lost = isinstance(result, Tensor) and result.is_floating_point() and not result.requires_grad
        if asked and (number or lost) and torch.is_grad_enabled():
            name = resolve_name(function) or getattr(function, "__name__", "a call")
            self.found.append(f"{name}{_line(traceback.extract_stack())} stops gradients")
        return result


_NUMBERS = (Tensor.numpy, Tensor.tolist, Tensor.item, Tensor.__array__, Tensor.__float__, Tensor.__int__)


def _flat(values: Sequence[Any]) -> Iterator[Any]:
    for value in values:
        yield from _flat(value) if isinstance(value, list | tuple) else [value]


def _raised(error: BaseException) -> str:
    return f"{_line(traceback.extract_tb(error.__traceback__)).strip(' ,') or 'it'} raises {said(error)}"


def _line(frames: traceback.StackSummary) -> str:
    """Return where in the user's code the last of these frames is: of a file that is neither ours nor of a library."""
    ours, installed = str(Path(__file__).parents[2]), str(Path(torch.__file__).parents[1])
    own = [frame for frame in frames if not frame.filename.startswith((ours, installed, "<"))]
    if not own:
        return ""
    return f", `{(own[-1].line or '').strip()}` in line {own[-1].lineno} of {Path(own[-1].filename).name},"
