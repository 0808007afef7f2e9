"""What all benchmarks print: one JSON line per figure."""

from __future__ import annotations

import json
import math


def show(name: str, value: float, unit: str, floor: float | None = None) -> None:
    """Print a figure with four digits, null if it is not finite, and the figure demanded, if there is one."""
    rounded = float(f"{value:.4g}") if math.isfinite(value) else None
    print(json.dumps({"name": name, "value": rounded, "unit": unit, "floor": floor}), flush=True)
