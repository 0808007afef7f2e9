"""Whatever a user's code sets is afterwards what it was."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch

from hpcsweep.approx.isolation import isolated
from hpcsweep.approx.process_settings import SETTINGS, SLOW

IMPORTS = """
import faulthandler, gc, logging, os, resource, sys, threading, warnings
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
"""
CHANGES = {
    "autocast": "torch.set_autocast_enabled('cpu', True)",
    "autocast entered": "torch.autocast('cpu', torch.float16, cache_enabled=False).__enter__()",
    "autocast of GPUs": "torch.set_autocast_enabled('cuda', True); torch.set_autocast_dtype('cuda', torch.bfloat16)",
    "float32 products": "torch.set_float32_matmul_precision('medium')",
    "float32 products by part": "torch.backends.cuda.matmul.fp32_precision = 'tf32'",
    "float32 products of all": "torch.backends.fp32_precision = 'tf32'",
    "oneDNN": "torch.backends.mkldnn.enabled = False",
    "contractions": "torch.backends.opt_einsum.enabled = False",
    "function mode": "TorchFunctionMode().__enter__()",
    "dispatch mode": "TorchDispatchMode().__enter__()",
    "functions of tensors": "torch._C.DisableTorchFunctionSubclass().__enter__()",
    "anomalies": "torch.autograd.set_detect_anomaly(True)",
    "mask": "os.umask(0)",
    "import path": "sys.path.insert(0, '/elsewhere')",
    "import path replaced": "sys.path = []",
    "limits": "resource.setrlimit(resource.RLIMIT_FSIZE, (2**40, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))",
    "garbage": "gc.disable(); gc.set_threshold(1)",
    "turns": "sys.setswitchinterval(1.0)",
    "tracing": "sys.settrace(lambda *_: None); sys.setprofile(lambda *_: None)",
    "logging": "logging.disable(); logging.root.setLevel(1)",
    "threads": "threading.excepthook = print",
    "warnings": "warnings.simplefilter('error'); warnings.showwarning = print",
}


def readable() -> dict[str, Any]:
    values = {}
    for name, setting in {**SETTINGS, **SLOW}.items():
        try:
            values[name] = str(setting.read())
        except NotImplementedError:  # a mode prevents it
            values[name] = "not readable"
    return values


@pytest.fixture(autouse=True)
def _put_back() -> Iterator[None]:
    """Restore what a change has left, so that no other test meets it."""
    before = {name: setting.read() for name, setting in {**SETTINGS, **SLOW}.items()}
    yield
    for name, value in before.items():
        {**SETTINGS, **SLOW}[name].write(value)


# Without the package of contractions, which hpcsweep does not need, torch lets nobody turn them on or off.
_WITHOUT_PACKAGE = () if torch.backends.opt_einsum.is_available() else ("contractions",)


@pytest.mark.parametrize("change", [change for change in CHANGES if change not in _WITHOUT_PACKAGE])
def test_a_setting_is_afterwards_what_it_was(change: str) -> None:
    before = readable()
    with isolated("it"):
        exec(IMPORTS + CHANGES[change], {})
        assert readable() != before, "the test changes nothing"
    assert readable() == before
    single = torch.ones(4, 4)
    assert (single @ single).dtype == torch.float32
