"""Who executes tasks: the MPI ranks and this process, or this process alone; one interface.

Rank 0 drives and computes as well: beside the `mpi4py.futures` executor over the other ranks it has a one-thread
executor for its own device, so that no device idles. A task is a function at module level and its plain arguments.
"""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from queue import Empty, SimpleQueue
from typing import Any, NoReturn

from hpcsweep.cluster import abort, devices, launchers, stopping
from hpcsweep.cluster.options import RunOptions
from hpcsweep.cluster.stopping import AGAIN, StopRequest
from hpcsweep.errors import LaunchError, UserError


class Workforce:
    """Rank 0's view of those who compute. `submit` gives a task to a free one; ask `free` first."""

    def __init__(
        self,
        others: Executor | None,
        named: Sequence[tuple[str, str]],
        stop: StopRequest | None = None,
        ask_to_stop: Callable[[], None] = lambda: None,
    ) -> None:
        self.devices, self.size = named, len(named)  # name and UUID of the device of each rank
        self.stop = stop or StopRequest()
        self._send_stop = ask_to_stop
        self._others = others
        self._own = ThreadPoolExecutor(1, thread_name_prefix="own-device", initializer=devices.occupy)
        # Those at work, our own device and others; what they do arrives here. Nothing grows with the number of ranks.
        self._own_future: Future[Any] | None = None
        self._others_busy = 0
        self._arrived: SimpleQueue[Future[Any]] = SimpleQueue()

    @property
    def free(self) -> int:
        """How many have nothing to do, as far as `arrivals` has told."""
        return self.size - self._others_busy - (self._own_future is not None)

    def submit(self, task: Callable[..., Any], *arguments: object) -> Future[Any]:
        """Start a task on another rank if one is free, else on our own device."""
        own = self._others is None or (self._others_busy >= self.size - 1 and self._own_future is None)
        executor = self._own if own else self._others
        assert executor is not None
        future = executor.submit(task, *arguments)
        if own:
            self._own_future = future
        else:
            self._others_busy += 1
        future.add_done_callback(self._arrived.put)
        return future

    def arrivals(self, timeout: float) -> list[Future[Any]]:
        """Return the tasks that are done since the last call; wait for one at most `timeout` seconds."""
        done = []
        with contextlib.suppress(Empty):
            done.append(self._arrived.get(timeout=timeout))
            while True:
                done.append(self._arrived.get_nowait())
        for future in done:
            if future is self._own_future:
                self._own_future = None
            else:
                self._others_busy -= 1
        return done

    def stop_everyone(self) -> None:
        """Ask all ranks, and this process, for an early end; harmless twice."""
        self.stop.ask()
        self._send_stop()
        self._send_stop = lambda: None

    def rests(self) -> bool:
        """Wait until nobody is at work; after an early end was asked for, not for those that hang (False)."""
        while self.free < self.size and not self.stop.overdue():
            self.arrivals(0.2)
        return self.free == self.size

    def close(self) -> None:
        """Wait for our own device; the other ranks are dismissed by `assemble`."""
        self._own.shutdown(wait=True, cancel_futures=True)


@contextlib.contextmanager
def assemble(options: RunOptions | None = None, stop: StopRequest | None = None) -> Iterator[Workforce | None]:
    """Give rank 0 the workforce; on every other rank serve it until it is dismissed, and give None.

    `options` are those of this rank, by default what the environment says; signals set `stop`, by default that of this
    process. MPI is touched only if a launcher started this process. An uncaught exception on any rank ends all ranks;
    so does `stopping.Stuck`, with exit code 75.
    Raises `LaunchError` if a launcher started several tasks that MPI does not see, or if the ranks cannot all have a
    device as they were asked to.
    """
    options, stop = options or RunOptions.read(), stop or stopping.here()
    abort.listen()
    stop.listen()
    if not launchers.launched():
        yield from _lead(Workforce(None, [_named(devices.alone(options))], stop))
        return
    with _ranks(options, stop) as workforce:
        yield workforce


@contextlib.contextmanager
def _ranks(options: RunOptions, stop: StopRequest) -> Iterator[Workforce | None]:
    from mpi4py import MPI
    from mpi4py.futures import MPICommExecutor

    stop.listen((signal.SIGHUP,))  # again: UCX, a library of MPI, takes it for itself
    world = MPI.COMM_WORLD
    if world.size == 1 < launchers.ranks():
        _alike(
            f"{launchers.ranks()} tasks were started but MPI sees a world of 1: each would run the whole study. "
            "Choose the process manager of your MPI: `srun --mpi=list` shows them, then `srun --mpi=pmi2 ...` (MPICH) "
            "or `srun --mpi=pmix ...` (Open MPI); without Slurm take the mpiexec of that MPI. "
            "`python -m hpcsweep doctor` under the same launcher says more.",
            launchers.rank(),
        )
    abort.agree()
    everyone = _devices(world, options)
    stop_channel = world.Dup()  # on which rank 0 asks the others for an early end
    if world.rank > 0:
        stop.also_when(lambda: stop_channel.Iprobe(source=0))
    pool: Any = contextlib.nullcontext() if world.size == 1 else MPICommExecutor(world, root=0)
    with pool as others:
        if world.rank == 0:
            yield from _lead(Workforce(others, everyone, stop, lambda: _send_stop(stop_channel)))
    while stop_channel.Iprobe(source=0):
        stop_channel.recv(source=0)
    if world.rank > 0:
        yield None


def _lead(workforce: Workforce) -> Iterator[Workforce]:
    try:
        yield workforce
    except stopping.Stuck as stuck:  # they can neither be asked nor waited for
        print(f"hpcsweep: {stuck}.", file=sys.stderr)
        abort.leave(AGAIN)
    except UserError as error:
        if not workforce.rests():
            print(f"hpcsweep: {error}", file=sys.stderr)
            abort.leave(2)
        raise
    except Exception as error:
        if launchers.launched():
            abort.abort(type(error), error, error.__traceback__)
        raise
    finally:
        workforce.close()


def _send_stop(stop_channel: Any) -> None:
    for rank in range(1, stop_channel.size):
        stop_channel.send(None, dest=rank)


def _devices(world: Any, options: RunOptions) -> list[tuple[str, str]]:
    """Bind this rank and return the devices of all. Raises, on all ranks alike, if they cannot all have one."""
    from mpi4py import MPI

    neighbours = world.Split_type(MPI.COMM_TYPE_SHARED)
    seats = world.allgather(devices.seat(options, neighbours.rank))
    neighbours.Free()
    try:
        mine = devices.settle(seats, world.rank, options)
    except LaunchError as error:
        _alike(str(error), world.rank)
    return world.allgather(_named(mine))


def _named(device: devices.Device) -> tuple[str, str]:
    return device.about, device.uuid


def _alike(message: str, rank: int) -> NoReturn:
    """End with a mistake that all ranks see alike: rank 0 tells it, all have its exit code."""
    if rank == 0:
        raise LaunchError(message)
    sys.exit(2)
