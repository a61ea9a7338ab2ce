"""The engine as a child process: start it, send it commands, stop it. Imports nothing heavy, so a
screen can open at once.

There are two ways to start. `Engine.start` takes a run directory that holds a complete scenario.
`Engine.boot` takes a request: the child itself checks the scenario and makes the directory (see
`boot`) while this process loads the screen; `ready` returns the result. Either way the child's
native output goes to engine.log, commands are JSON lines on its stdin, and it ends when that is
closed, so an engine never outlives its viewer.
"""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType
from typing import IO, Any

from grpolab.errors import RequestError

MOST_THREADS = 4
"""More threads do not help the embedded policy."""

GONE = 10.0
"""Seconds to wait for a killed process to be gone."""


@dataclass(frozen=True)
class Request:
    """What the user wants computed: a scenario with changes, or a run to resume."""

    scenario: str = "default"
    changes: Sequence[tuple[str, str, Any]] = ()  # from `scenario.load.changes`
    out: str | None = None
    resume: str | None = None
    back_to: int | None = None  # step of the checkpoint to resume from; None: the newest
    further: int = 0  # steps to train beyond that checkpoint; 0: to the planned end
    stay: bool = False  # at the run's end the engine pauses instead of leaving: a screen is there
    device: str = "auto"
    threads: int | None = None


class RunIsDone(Exception):
    """The run to resume has finished all its steps."""

    def __init__(self, run_dir: Path) -> None:
        super().__init__(f"{run_dir} is done")
        self.run_dir = run_dir


class Engine:
    """One engine process. Every method may be called at any time, also after its end."""

    def __init__(self, process: subprocess.Popen[bytes], run_dir: Path | None) -> None:
        self.process = process
        self._run_dir = run_dir

    @classmethod
    def start(
        cls,
        run_dir: Path,
        *,
        threads: int | None = None,
        device: str = "auto",
        resume: bool = False,
        stay: bool = False,
    ) -> Engine:
        """Start on a run directory whose scenario.yaml is complete. `stay`: see `Request`."""
        arguments = engine_arguments(run_dir, threads, device, resume, stay=stay)
        with (run_dir / "engine.log").open("ab") as log:
            return cls(spawn(["-m", "grpolab.engine", *arguments], log, log), run_dir)

    @classmethod
    def boot(cls, request: Request) -> Engine:
        """Start on a request that was not checked yet. Call `ready` before anything else."""
        arguments = ["-m", "grpolab.boot", json.dumps(asdict(request))]
        return cls(spawn(arguments, subprocess.PIPE, subprocess.STDOUT), None)

    def ready(self) -> Path:
        """Wait until the request is checked; returns the run directory.

        Raises RequestError if the request was wrong, RunIsDone if there is nothing left to compute,
        RuntimeError if the engine did not start.
        """
        if self._run_dir is not None:
            return self._run_dir
        assert self.process.stdout is not None
        noise: list[str] = []
        verdict: dict[str, str] = {}
        with self.process.stdout as out:
            for line in out:
                try:
                    verdict = json.loads(line)["grpolab"]
                    break
                except (ValueError, KeyError, TypeError):
                    noise.append(line.decode("utf-8", "replace"))
        if "run" in verdict:
            self._run_dir = Path(verdict["run"])
            return self._run_dir
        self.process.wait()
        if "done" in verdict:
            raise RunIsDone(Path(verdict["done"]))
        if "error" in verdict:
            raise RequestError(verdict["error"])
        raise RuntimeError("the engine could not be started:\n" + "".join(noise).rstrip())

    @property
    def run_dir(self) -> Path:
        """The run directory; waits for `ready`."""
        return self.ready()

    @property
    def running(self) -> bool:
        return self.process.poll() is None

    @property
    def exit_code(self) -> int | None:
        """0 done, 1 failed, 130 interrupted, negative where a signal ended it; None while it
        runs.
        """
        return self.process.poll()

    def send(self, command: Mapping[str, Any]) -> bool:
        """Write one command, such as `{"do": "pause"}`. False if the engine no longer reads it."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps(command).encode() + b"\n")
            self.process.stdin.flush()
        except (OSError, ValueError):
            return False
        return True

    def stop(self) -> None:
        """Ask it to finish the step, write a checkpoint and exit. Returns at once; see `wait`."""
        self.send({"do": "stop"})
        assert self.process.stdin is not None
        with suppress(OSError):
            self.process.stdin.close()

    def wait(self, timeout: float | None = None) -> int | None:
        """Its exit code, or None if it still runs after `timeout` seconds."""
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            return None

    def kill(self) -> None:
        """Kill it and whatever it started. The run file keeps everything up to here; a resume
        starts at a checkpoint."""
        if self.running:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
        with suppress(subprocess.TimeoutExpired):  # an exception may have left a lock in Popen
            self.process.wait(GONE)

    def close(self, patience: float = 60.0) -> None:
        """Stop it, wait up to `patience` seconds or until Ctrl-C, then kill it if it still runs."""
        try:
            if self.running:
                self.stop()
                self.wait(patience)
        except KeyboardInterrupt:
            pass
        finally:
            if self.running:
                self.kill()

    def log_tail(self, lines: int = 20) -> str:
        """The end of engine.log, for a crash that became no event."""
        return log_tail(self._run_dir, lines) if self._run_dir else ""


def log_tail(run_dir: Path, lines: int = 20) -> str:
    """The last lines that native libraries and the engine wrote to engine.log."""
    try:
        with (run_dir / "engine.log").open("rb") as file:
            file.seek(max(0, file.seek(0, 2) - 16384))
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return ""
    return "\n".join(text.rstrip().splitlines()[-lines:])


def engine_arguments(
    run_dir: Path,
    threads: int | None,
    device: str,
    resume: bool,
    back_to: int | None = None,
    further: int = 0,
    stay: bool = False,
) -> list[str]:
    """The engine's command line after `python -m grpolab.engine`."""
    arguments = [str(run_dir), "--threads", str(threads or default_threads()), "--device", device]
    arguments += ["--resume"] if resume else []
    arguments += ["--from", str(back_to)] if back_to is not None else []
    arguments += ["--further", str(further)] if further else []
    return [*arguments, "--stay"] if stay else arguments


def default_threads(engines: int = 1) -> int:
    """Threads for each of `engines` engines at a time: their share of the CPUs that this process
    may use, at most MOST_THREADS."""
    if hasattr(os, "sched_getaffinity"):
        cpus = len(os.sched_getaffinity(0))
    else:  # macOS binds no process to CPUs; psutil knows no more there
        cpus = os.cpu_count() or 1
    try:  # a container's share of the machine does not show in the affinity
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        cpus = min(cpus, max(1, round(int(quota) / int(period))))
    except (OSError, ValueError):
        pass
    return max(1, min(cpus // engines, MOST_THREADS))


def spawn(arguments: list[str], out: Any, err: Any) -> subprocess.Popen[bytes]:
    """Start a Python child in a session of its own, so that Ctrl-C reaches only this process."""
    return subprocess.Popen(
        python(*arguments),
        stdin=subprocess.PIPE,
        stdout=out,
        stderr=err,
        env=environment(),
        start_new_session=True,
    )


def python(*arguments: str) -> list[str]:
    """A command line of this Python."""
    # -P: a file named like one of our packages in the user's folder must not be imported
    return [sys.executable, "-P", *arguments]


def environment() -> dict[str, str]:
    """The environment of an engine process."""
    package = str(Path(__file__).resolve().parent.parent)
    paths = [package, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    return os.environ | {
        "PYTHONPATH": os.pathsep.join(paths),
        "PYTHONUNBUFFERED": "1",
        # waiting threads sleep instead of spinning: on few cores that starves the viewer
        "OMP_WAIT_POLICY": os.environ.get("OMP_WAIT_POLICY", "passive"),
        "TOKENIZERS_PARALLELISM": "false",
        # answers of other lengths each step: blocks that cannot grow left a third of a GPU unused
        "PYTORCH_ALLOC_CONF": os.environ.get(
            "PYTORCH_ALLOC_CONF",
            os.environ.get("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True"),
        ),
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    }


def write_no_more(*streams: IO[str] | None) -> None:
    """Throw away what is still to be written to these, after a broken pipe: else it breaks again
    when the interpreter ends, which then exits with 120."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in filter(None, streams):
        with suppress(OSError, ValueError):  # no file, or closed
            os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


DISK_ERRORS = [
    getattr(errno, name)
    for name in ("ENOSPC", "EDQUOT", "EFBIG", "EIO")
    if hasattr(errno, name)  # no quota on some systems
]


def disk_failed(error: OSError) -> int:
    """Say in one line that what was written found no room, as a full disk under stdout; the exit
    code. Raises any other error again."""
    if error.errno not in DISK_ERRORS:
        raise error
    write_no_more(sys.stdout)
    print(f"cannot write: {error.strerror}; make room, or write elsewhere", file=sys.stderr)
    return 1


@contextmanager
def interruptible() -> Iterator[None]:
    """Within this context, SIGTERM and a closed terminal (SIGHUP) raise KeyboardInterrupt."""

    def interrupt(signum: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    with _handled(interrupt, "SIGTERM", "SIGHUP"):
        yield


@contextmanager
def counting() -> Iterator[list[int]]:
    """Within this context, Ctrl-C, SIGTERM and SIGHUP are appended to this list instead of raised:
    an exception while a child's status is read would leave that locked."""
    seen: list[int] = []
    with _handled(lambda signum, frame: seen.append(signum), "SIGINT", "SIGTERM", "SIGHUP"):
        yield seen


@contextmanager
def _handled(handler: Callable[[int, FrameType | None], None], *names: str) -> Iterator[None]:
    """Handle the signals of these names, where the system has them."""
    kinds = [k for n in names if (k := getattr(signal, n, None)) is not None]
    before = {kind: signal.signal(kind, handler) for kind in kinds}
    try:
        yield
    finally:
        for kind, old in before.items():
            signal.signal(kind, old)
