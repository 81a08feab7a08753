"""Run every benchmark in this folder: `python -m benchmarks [NAME ...]`."""

from __future__ import annotations

import importlib
import os
import pkgutil
import platform
import sys
from importlib.metadata import PackageNotFoundError, version

import benchmarks
from benchmarks.timing import Note, Row

PACKAGES = ("qd-agent", "numpy", "scipy", "pyFAI", "torch", "h5py", "tiled", "redis", "bluesky")
PEERS = ("DebyeCalculator", "ase")
HELPERS = ("__main__", "timing")


def main(wanted: list[str]) -> int:
    names = [m.name for m in pkgutil.iter_modules(benchmarks.__path__) if m.name not in HELPERS]
    unknown = sorted(set(wanted) - set(names))
    if unknown:
        print(f"no such benchmark: {', '.join(unknown)}; there are: {', '.join(names)}")
        return 2
    print(_surroundings())
    for name in wanted or names:
        module = importlib.import_module(f"benchmarks.{name}")
        print(f"\n{name}: {(module.__doc__ or '').strip().splitlines()[0]}")
        for row in module.rows():
            print(_line(row))
    return 0


def _line(row: Row | Note) -> str:
    if isinstance(row, Note):
        return f"  {row.text}"
    return (
        f"  {row.what:<62} {_time(row.seconds)}   {row.ratio:8.3g} × "
        f"{row.against} ({_time(row.against_seconds).strip()})"
    )


def _time(seconds: float) -> str:
    for unit, scale in (("s ", 1.0), ("ms", 1e3), ("µs", 1e6)):
        if seconds * scale >= 1.0:
            return f"{seconds * scale:7.3g} {unit}"
    return f"{seconds * 1e9:7.3g} ns"


def _surroundings() -> str:
    found = [f"{name} {_version(name)}" for name in (*PACKAGES, *PEERS)]
    threads = os.environ.get("OMP_NUM_THREADS", "unset")
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    return (
        f"Python {platform.python_version()} on {platform.machine()} {platform.system()}, "
        f"{os.cpu_count()} cores, OMP_NUM_THREADS {threads}, load {load}\n" + ", ".join(found)
    )


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "absent"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
