"""Who runs the trials: processes of this machine, or a Ray cluster. Both give the same answers."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any

from ..core.errors import PanformerError, require
from .trial import Trial, run

ENGINES = ("local", "ray")
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
Done = Iterator[tuple[Trial, dict[str, Any]]]
POLL = 0.5  # seconds between looks at whether to stop
STOPPED: Callable[[], bool] = lambda: False  # noqa: E731


def engine(name: str) -> Callable[[Sequence[Trial], int, Callable[[], bool]], Done]:
    return {"local": local, "ray": on_ray}[name]


def local(trials: Sequence[Trial], workers: int, stop: Callable[[], bool] = STOPPED) -> Done:
    """Processes of one thread each; they are ended with the first fault, or once `stop` says so."""
    with _one_thread():
        pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _begin, (os.getpid(),))
        try:
            waiting = list(trials)[::-1]
            running: dict[Any, Trial] = {}
            while (waiting or running) and not stop():
                while waiting and len(running) < workers:
                    one = waiting.pop()
                    running[pool.submit(run, one)] = one
                done = wait(running, POLL, FIRST_COMPLETED).done
                for future in sorted(
                    done, key=lambda f: f.exception() is not None
                ):  # what is finished first, then faults
                    yield running.pop(future), future.result()
        except BrokenProcessPool:
            raise PanformerError(
                "a process that trained was ended, perhaps for want of memory; what was finished is kept: "
                "the same command goes on, with fewer --workers if need be"
            ) from None
        finally:
            for process in list((pool._processes or {}).values()):
                if running:
                    process.terminate()
            pool.shutdown(wait=True, cancel_futures=True)


def on_ray(trials: Sequence[Trial], workers: int, stop: Callable[[], bool] = STOPPED) -> Done:
    """One CPU of the cluster for each trial; the cluster of RAY_ADDRESS, or one started here with `workers` CPUs."""
    ray = require("ray", "ray")
    ours = not ray.is_initialized()
    if ours:
        here = {} if os.environ.get("RAY_ADDRESS") else {"num_cpus": workers, "include_dashboard": False}
        try:
            ray.init(log_to_driver=False, logging_level="ERROR", **here)
        except Exception as fault:
            raise PanformerError(
                f"ray: could not start or join a cluster ({' '.join(str(fault).split())[:200]})"
            ) from None
    left: dict[Any, Trial] = {}
    try:
        remote = ray.remote(num_cpus=1, max_retries=2)(run)
        left |= {remote.remote(one): one for one in trials}
        while left and not stop():
            ready, _ = ray.wait(list(left), timeout=POLL)
            for found in ready:
                yield left.pop(found), ray.get(found)
    finally:
        for found in left:
            ray.cancel(found, force=True)
        if ours:
            ray.shutdown()


@contextmanager
def _one_thread() -> Iterator[None]:
    """Children begin with one thread in every library."""
    before = {name: os.environ.get(name) for name in THREADS}
    os.environ.update(dict.fromkeys(THREADS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _begin(parent: int) -> None:
    """Ctrl-C is for the parent, which ends its children; where it was killed, they end by themselves."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(POLL)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
