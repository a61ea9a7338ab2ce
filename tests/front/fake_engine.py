"""An engine that computes nothing: `fake_engine.py RUN_DIR STEPS SECONDS [crash]` obeys stop and
continue on stdin.
"""

import os
import sys
import threading
import time
from pathlib import Path

from front.synthetic import evaluated, run_events, step_events

from grpolab.record import codec
from grpolab.record import events as ev

run_dir, steps, pace, mode = Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), sys.argv[4:]
stop, go_on = threading.Event(), threading.Event()
began = time.monotonic()


def listen() -> None:
    for line in sys.stdin:
        if '"continue"' in line:
            go_on.set()
        if '"stop"' in line:
            break
    stop.set()


def emit(*happened: ev.Event) -> None:
    with (run_dir / "events.jsonl").open("a") as file:
        for event in happened:
            file.write(codec.encode(event, time.monotonic() - began) + "\n")


threading.Thread(target=listen, daemon=True).start()
emit(*run_events(steps)[:4])
for step in range(1, steps + 1):
    time.sleep(pace)
    if "crash" in mode and step == 2:
        print("Segmentation fault in libexample", file=sys.stderr, flush=True)
        os._exit(139)
    if "fail" in mode and step == 2:
        emit(ev.Failed(step, "out of memory", "updating"), ev.Ended(1, "failed"))
        raise SystemExit(1)
    if "pause" in mode and step == 2:
        emit(ev.Paused(1, "cue"))
        if not go_on.wait(10):
            raise SystemExit(1)
        emit(ev.Continued(1))
    emit(*step_events(step))
    if stop.is_set() and "stubborn" not in mode:
        emit(ev.Checkpointed(step, f"checkpoints/step-{step:06}"), ev.Ended(step, "interrupted"))
        raise SystemExit(130)
emit(evaluated(steps, 0.9), ev.Ended(steps, "done", {}, "final"))
