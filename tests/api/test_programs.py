"""Networks in TorchScript and torch.export files: what they compute on points and boxes."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from hpcsweep.approx.supnorm.certificate.enclosure import boxes
from hpcsweep.approx.supnorm.functions import adapted
from hpcsweep.errors import UserError
from tests.api.programs import POINTS, SQUARE, loaded, saved

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def normalized(*layers: nn.Module) -> nn.Sequential:
    """Return a network in evaluation mode with layers in between, whose statistics and weights are not those of 0."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(2, 8), *layers, nn.Linear(8, 1))
    for part in layers:
        for tensor in (*part.parameters(), *part.buffers()):
            if tensor.is_floating_point():
                nn.init.uniform_(tensor, 0.5, 2.0)
    return net.eval()


class Reshaped(nn.Module):
    """Sizes of points, lists, numbers, loops and new constants."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        first, second = torch.chunk(x.view(x.shape[0], -1), 2, dim=1)
        largest = torch.max(x, dim=1, keepdim=True)[0]
        for turn in range(3):
            first = first + turn * second
        return 2 - (first + x.size(1) * second).float() * largest / 3 + torch.zeros(x.shape[0], 1)


class Activated(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = functional.softsign(functional.rrelu(functional.celu(functional.elu(x, 0.3), 0.4), 0.1, 0.5))
        return torch.where(x > 0.1, torch.rsub(x, 2.0), x * x)[:, :1]


MODULES = {
    "batch norm": normalized(nn.BatchNorm1d(8)),
    "batch norm without weights": normalized(nn.BatchNorm1d(8, affine=False), nn.Tanh()),
    "other norms": normalized(nn.LayerNorm(8), nn.GroupNorm(2, 8), nn.RMSNorm(8), nn.Dropout()),
    "reshaped": Reshaped(),
    "activated": Activated(),
}


@pytest.mark.parametrize("kind", ["script", "trace", "export"])
@pytest.mark.parametrize("name", MODULES)
def test_programs_compute_on_points_and_on_boxes_what_their_module_computes(name: str, kind: str) -> None:
    function = adapted(loaded(saved(MODULES[name], kind)), SQUARE)
    values = adapted(MODULES[name], SQUARE)(POINTS)
    torch.testing.assert_close(function(POINTS), values, rtol=1e-13, atol=1e-13)
    low, high = function(boxes(POINTS, torch.full_like(POINTS, 1e-6), SQUARE)).range()
    assert bool(((low <= values) & (values <= high)).all())
    jumps = ((POINTS - 0.1).abs() < 0.01).any(1) if name == "activated" else torch.zeros(100, dtype=torch.bool)
    assert bool((high - low)[~jumps].max() < 1e-3)


def test_a_program_exported_for_one_number_of_points_is_told_how_to_be_exported() -> None:
    network = loaded(saved(nn.Sequential(nn.Linear(2, 1)), "export", dynamic=False))
    assert adapted(network, SQUARE)(POINTS).shape == (100,)  # nothing depends on the number

    class Viewed(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.view(x.shape[0], 2)[:, 0]

    with pytest.raises(
        UserError, match=r"net.pt2 was exported for 5 points and fails for 2; export it for any number of .*Dim.AUTO"
    ):
        adapted(loaded(saved(Viewed(), "export", dynamic=False)), SQUARE)
