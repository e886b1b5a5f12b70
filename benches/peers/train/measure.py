"""Runs a command and prints a row of the table: seconds by the clock and of the processors, and the largest resident memory of all its
processes together. It is ended when it takes more memory or longer than it may."""

import argparse
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

PAGE = resource.getpagesize()
EVERY_SECONDS = 0.05


def resident(session):
    """Bytes of all processes of a session. Pages that they share are counted once for each, which only processes that fork have."""
    total = 0
    for process in Path("/proc").glob("[0-9]*"):
        try:
            fields = (process / "stat").read_text().rsplit(")", 1)[1].split()
            if int(fields[3]) == session:
                total += int((process / "statm").read_text().split()[1]) * PAGE
        except (OSError, IndexError):
            # It has ended meanwhile.
            continue
    return total


def run(command, memory, seconds, log):
    """What became of it, and the largest memory."""
    started = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
    deadline, largest, why = time.monotonic() + seconds, 0, None
    while started.poll() is None:
        largest = max(largest, resident(started.pid))
        if largest > memory:
            why = "out of memory"
        elif time.monotonic() > deadline:
            why = "took too long"
        if why:
            os.killpg(started.pid, signal.SIGKILL)
            started.wait()
        time.sleep(EVERY_SECONDS)
    return why or ("done" if started.returncode == 0 else f"failed, see {log.name}"), largest


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--name", required=True)
    arguments.add_argument("--log", type=Path, required=True)
    arguments.add_argument("--memory-gib", type=float, default=float(os.environ.get("PEERS_MEMORY_GIB", "16")))
    arguments.add_argument("--seconds", type=float, default=float(os.environ.get("PEERS_SECONDS", "1800")))
    arguments.add_argument("command", nargs=argparse.REMAINDER)
    wanted = arguments.parse_args()
    with wanted.log.open("w") as log:
        begun = time.monotonic()
        outcome, largest = run(wanted.command, wanted.memory_gib * 2**30, wanted.seconds, log)
        wall = time.monotonic() - begun
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(f"  {wanted.name:<44} {wall:>9.1f} {used.ru_utime + used.ru_stime:>9.1f} {largest / 2**30:>8.2f}  {outcome}", flush=True)
    sys.exit(0 if outcome == "done" else 1)


if __name__ == "__main__":
    main()
