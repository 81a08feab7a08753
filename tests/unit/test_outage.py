import pytest

from qd_agent.core.errors import Fatal
from qd_agent.outage import Outage
from tests.helpers import records


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def outage(clock: Clock) -> Outage:
    return Outage(60.0, clock)


def test_an_outage_that_lasts_too_long_ends_the_agent_and_says_what_to_do(outage, clock):
    outage.take("the disk is away")
    clock.now += 59.0
    outage.take("the disk is away")
    clock.now += 1.0
    with pytest.raises(Fatal, match=r"^the disk is away; it has been so for 60 s. Bring it back"):
        outage.take("the disk is away")


def test_a_frame_that_is_read_from_a_file_ends_it(outage, clock):
    outage.take("away")
    outage.take("away")
    clock.now += 1000.0
    outage.is_over(records.reference())
    for _ in range(10):
        outage.take("away")


def test_a_frame_that_came_with_its_event_tells_nothing_of_the_disk(outage, clock):
    outage.take("away")
    outage.take("away")
    clock.now += 60.0
    outage.is_over(records.inline_reference())
    with pytest.raises(Fatal):
        outage.take("away")


def test_one_or_two_frames_prove_nothing_however_long_it_takes(outage, clock):
    outage.take("away")
    clock.now += 1e6
    outage.take("away")


def test_it_is_said_once_and_once_when_it_is_over(outage, clock, capsys):
    for _ in range(5):
        outage.take("the disk is away")
    clock.now += 7.0
    outage.is_over(records.reference())
    outage.is_over(records.reference())
    said = capsys.readouterr().out
    assert said.count("storage is away, frames wait") == 1
    assert said.count("storage is back") == 1
    assert "away_s=7" in said
