"""What is freed stays with the process, so that the next step need not ask for it again."""

import subprocess
import sys

import pytest

PROGRAM = """
import resource
from training.memory import keep_freed_memory
if {kept} and not keep_freed_memory():
    raise SystemExit("no mallopt")
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    [bytearray(10_000_000) for _ in range(10)]
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(*, kept: bool) -> int:
    """Pages that a fresh process asks the system for, for twenty times ten of 10 MB."""
    program = PROGRAM.format(kept=kept)
    done = subprocess.run(
        [sys.executable, "-c", program], check=False, capture_output=True, text=True
    )
    if done.stderr.strip() == "no mallopt":
        pytest.skip("the C library here has no mallopt")
    return int(done.stdout)


def test_memory_is_asked_for_once():
    assert faults(kept=True) < 0.1 * faults(kept=False)
