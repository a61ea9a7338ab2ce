"""`python -m grpolab.engine RUN_DIR`: the engine process. `grpolab.launch` starts it; it is not
meant to be started by hand."""

from __future__ import annotations

import argparse
import gc
import signal
import sys
import time
from pathlib import Path


def main() -> int:
    started = time.perf_counter()
    parser = argparse.ArgumentParser(prog="python -m grpolab.engine")
    parser.add_argument("run_dir", type=Path)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--from", type=int, dest="back_to")
    parser.add_argument("--further", type=int, default=0)
    parser.add_argument("--stay", action="store_true")
    a = parser.parse_args()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the viewer decides what Ctrl-C means
    gc.disable()  # until everything is imported and loaded: that leaves no garbage to collect
    from grpolab.engine.host import Host

    host = Host(
        a.run_dir,
        a.device,
        a.threads,
        resume=a.resume,
        started=started,
        back_to=a.back_to,
        further=a.further,
        stay=a.stay,
    )
    return host.run()


if __name__ == "__main__":
    sys.exit(main())
