"""Which device each rank takes: decided from facts, for every environment that real Slurm was seen to give."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcsweep.approx import machine
from hpcsweep.cluster import memory, placement
from hpcsweep.cluster.placement import Gpu, Seat
from hpcsweep.errors import LaunchError
from tests.conftest import Run

RECORDED = json.loads((Path(__file__).parent / "slurm" / "slurm_environments.json").read_text())
CROWDED = {  # what Slurm was told, and the flag that should be named
    "--nodelist=n1 -N1 -n2 --gpus-per-node=1": ("2 ranks on n1 (0, 1) see only 1 GPU", "--ntasks-per-node=1"),
    "--nodelist=n1 -N1 -n4 --gpus-per-node=2": ("4 ranks on n1 (0, 1, 2, 3) see only 2 GPU", "--ntasks-per-node=2"),
}


def seat(environment: dict[str, str], build: str = "CUDA 12.8", driver: bool = True) -> Seat:
    """What a rank of that environment would tell on a machine with real devices (or with no working driver)."""
    host = environment["SLURMD_NODENAME"]
    name = "ROCR_VISIBLE_DEVICES" if build.startswith("ROCm") else "CUDA_VISIBLE_DEVICES"
    numbers = environment[name].split(",") if name in environment and driver else []
    told = placement.identities(host, [f"GPU-{host}-{number}" for number in numbers], environment)
    return Seat(
        host=host,
        cores=frozenset({0}),
        threads=1,
        local=placement.local_rank(environment),
        gpus=tuple(Gpu(uuid, "a GPU") for uuid in told),
        build=build,
        granted=placement.granted(environment),
        hidden=placement.hidden(environment, build),
        slurm=True,
    )


def build_for(flags: str) -> str:
    return "ROCm 6.3" if "amd" in flags else "CUDA 12.8"


@pytest.mark.parametrize("flags", RECORDED)
def test_every_rank_of_every_recorded_environment_gets_a_gpu_of_its_own_or_a_sentence(flags: str) -> None:
    ranks = [seat(task, build_for(flags)) for task in RECORDED[flags]]
    if flags in CROWDED:
        with pytest.raises(LaunchError) as refused:
            placement.assign(ranks)
        assert all(part in str(refused.value) for part in (*CROWDED[flags], "--gpus-per-task=1", "--share-gpus"))
        shared = placement.assign(ranks, share=True)
        assert [shared.count(number) for number in set(shared)] == [2] * len(set(shared))
        return
    taken = placement.assign(ranks)
    if "gpu" not in flags:
        assert taken == [None] * len(ranks)
        return
    assert len({ranks[rank].gpus[number].uuid for rank, number in enumerate(taken)}) == len(ranks)
    for rank, number in zip(ranks, taken, strict=True):
        assert number == (0 if len(rank.gpus) == 1 else rank.local)  # bound: as it is; of several: in local order


@pytest.mark.parametrize("flags", RECORDED)
def test_gpus_that_slurm_gave_but_torch_does_not_see_are_an_error(flags: str) -> None:
    for build, cause in (("cpu", "built for CPUs only"), (build_for(flags), "whether the driver works")):
        blind = [seat(task, build, driver=False) for task in RECORDED[flags]]
        assert placement.assign(blind, "cpu") == [None] * len(blind)
        if "gpu" not in flags:
            assert placement.assign(blind) == [None] * len(blind)
            continue
        with pytest.raises(LaunchError, match=f"Rank 0 on .* though Slurm gave it 0.*{cause}.*--device cpu"):
            placement.assign(blind)


@pytest.mark.parametrize(
    ("facts", "remedy"),
    [
        ({"build": "CUDA 12.8", "slurm": True}, "--gpus-per-task=1"),
        ({"build": "CUDA 12.8"}, "nvidia-smi"),
        ({"build": "ROCm 6.3"}, "rocm-smi"),
        (
            {"hidden": placement.hidden({"CUDA_VISIBLE_DEVICES": ""}, "cpu")},
            "CUDA_VISIBLE_DEVICES='' hides them; unset it",
        ),
    ],
)
def test_a_gpu_that_was_asked_for_and_is_not_there_names_what_to_change(facts: dict[str, Any], remedy: str) -> None:
    """One rank of two without a GPU is enough."""
    seats = [Seat("n1", frozenset({0}), 1, gpus=(Gpu("abc", "a GPU"),)), Seat("n1", frozenset({0}), 1, **facts)]
    with pytest.raises(LaunchError, match=f"Rank 1 on n1 sees no GPU: .*{remedy}"):
        placement.assign(seats, "gpu")


def test_without_slurm_the_remedy_is_that_of_mpiexec() -> None:
    with pytest.raises(LaunchError, match=r"2 ranks on h \(0, 1\) see only 1 GPU\(s\) \(X #abc\).*mpiexec -n 1"):
        placement.assign([Seat("h", frozenset({0}), 1, local, (Gpu("abc", "X"),)) for local in (0, 1)])


HOSTS = st.lists(st.lists(st.integers(0, 3), max_size=4, unique=True), min_size=1, max_size=5)


def choices(visible: list[list[int]]) -> Iterator[tuple[int, ...]]:
    """Every way in which ranks could take a GPU: the naive twin of the matching."""
    return itertools.product(*(gpus for gpus in visible if gpus))


@given(HOSTS, st.permutations(range(5)))
def test_each_rank_gets_one_of_its_own_exactly_if_that_is_possible(visible: list[list[int]], local: list[int]) -> None:
    ranks = [
        Seat("h", frozenset({0}), 1, local[rank], tuple(Gpu(str(number), "X") for number in gpus))
        for rank, gpus in enumerate(visible)
    ]
    loads = [max(map(taken.count, taken), default=0) for taken in choices(visible)]
    for share in (False, True):
        if min(loads) > 1 and not share:
            with pytest.raises(LaunchError, match="would share"):
                placement.assign(ranks)
            continue
        taken = placement.assign(ranks, share=share)
        assert [number is None for number in taken] == [not gpus for gpus in visible]
        own = [visible[rank][number] for rank, number in enumerate(taken) if number is not None]
        assert max(map(own.count, own), default=0) == min(loads)
        assert taken == placement.assign(ranks, share=share)


def test_threads_are_counted_over_the_ranks_that_share_cores() -> None:
    """Sixteen ranks that may each use the same four of many cores cannot have four threads each."""
    with pytest.raises(LaunchError, match=r"16 rank.s. on a have 64 threads in all for 4 cores"):
        placement.refuse_oversubscription([Seat("a", frozenset(range(4)), 4)] * 16)
    placement.refuse_oversubscription([Seat("a", frozenset(range(4 * i, 4 * i + 4)), 4) for i in range(16)])
    placement.refuse_oversubscription([Seat("a", frozenset(range(2)), 1)] * 16)  # one each only share the time


def test_the_launcher_of_mpi_knows_the_local_rank_better_than_slurm() -> None:
    """Under mpiexec in a batch job each rank inherits SLURM_LOCALID=0 from the script."""
    assert placement.local_rank({"SLURM_LOCALID": "0", "MPI_LOCALRANKID": "3"}) == 3
    assert placement.local_rank({"SLURM_LOCALID": "2"}, 5) == 2
    assert placement.local_rank({}, 5) == 5


def test_amd_devices_are_chosen_by_one_variable() -> None:
    both = {"ROCR_VISIBLE_DEVICES": "3", "CUDA_VISIBLE_DEVICES": "3", "HIP_VISIBLE_DEVICES": "0"}
    assert placement.redundant(both, "ROCm 6.3") == ["CUDA_VISIBLE_DEVICES"]  # the user's own HIP choice stays
    assert (
        placement.redundant(both, "CUDA 12.8") == [] == placement.redundant({"CUDA_VISIBLE_DEVICES": "3"}, "ROCm 6.3")
    )
    assert placement.hidden({"ROCR_VISIBLE_DEVICES": "-1"}, "ROCm 6.3") and not placement.hidden(both, "ROCm 6.3")
    assert not placement.hidden({"ROCR_VISIBLE_DEVICES": ""}, "CUDA 12.8")


def test_gpus_without_uuids_are_told_apart_by_host_and_number() -> None:
    assert placement.identities("h", ["u", ""], {"CUDA_VISIBLE_DEVICES": "2,5"}) == ["u", "h/5"]
    bound = {"SLURM_STEP_NUM_TASKS": "2", "SLURM_STEP_GPUS": "1", "CUDA_VISIBLE_DEVICES": "0"}  # renumbered by a cgroup
    assert placement.identities("h", [""], bound) == ["h/1"]
    assert placement.identities("h", ["", ""], {}) == ["h/0", "h/1"]
    assert placement.identities("h", ["same"], {"CUDA_VISIBLE_DEVICES": "MIG-a"}) == ["MIG-a"]


def test_the_record_of_devices_is_short_and_tells_them_apart() -> None:
    alike = [("H200", f"1234567890{letter}-more") for letter in "ab"]
    assert placement.summary(alike) == "2 x H200 (1234567890a, 1234567890b)"
    assert placement.summary([*alike, ("cpu, 1 thread(s)", "")] * 2).endswith("; 2 x cpu, 1 thread(s)")
    many = placement.summary([("H200", f"{number:08d}-x") for number in range(500)])
    assert len(many) <= 1000 and many.startswith("500 x H200 (00000000, 00000001") and many.endswith(" ...")


def test_the_memory_of_a_rank_ends_at_the_narrowest_cgroup(tmp_path: Path) -> None:
    def write(name: str, text: str) -> None:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)

    write("own", "0::/slurm/job_7/step_0\n")
    write("memory.max", "max\n")
    write("slurm/job_7/memory.max", "2000\n")
    write("slurm/job_7/step_0/memory.max", "3000\n")
    assert memory.cgroup_limits(tmp_path, tmp_path / "own") == [3000, 2000]
    write("own", "5:cpu:/x\n4:memory:/a\n")
    write("memory/a/memory.limit_in_bytes", "70\n")
    assert memory.cgroup_limits(tmp_path, tmp_path / "own") == [70]
    assert memory.cgroup_limits(tmp_path, tmp_path / "none") == []


@pytest.mark.skipif(machine.gpus() == 0, reason="no GPU that torch sees")
def test_a_real_gpu_tells_a_uuid_or_an_address() -> None:
    names = [machine.gpu_uuid(number, "h") for number in range(machine.gpus())]
    assert all(names) and len(set(names)) == len(names)


@pytest.mark.parametrize("ranks", [0, pytest.param(2, marks=pytest.mark.mpi)])
@pytest.mark.skipif(machine.gpus() > 0, reason="there is a GPU")
def test_a_gpu_where_there_is_none_is_one_sentence_for_all_ranks(hpcsweep: Run, tiny: Path, ranks: int) -> None:
    refused = hpcsweep("run", tiny, "-o", "s.h5", "--device", "gpu", ranks=ranks)
    assert refused.returncode == 2 and "Traceback" not in refused.stderr
    assert refused.stderr.count("sees no GPU") == 1 and "--device cpu" in refused.stderr
    assert not list(tiny.parent.glob("s*.h5*")), "something was written"
