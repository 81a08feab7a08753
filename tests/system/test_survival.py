"""The agent is killed in the middle of a run, and in the end the books still agree."""

import json
import os
import signal

import pytest

from tests.helpers.rig import Rig

pytestmark = pytest.mark.system


@pytest.fixture(autouse=True)
def _both_servers_are_the_agents_own(rig: Rig):
    rig.own_tiled = True


def test_a_killed_agent_takes_up_the_run_and_answers_every_frame_once(rig: Rig):
    agent, beamline = rig.start_both("growth", "--frames", "40", "--rate", "1.5", "--binning", "4")
    rig.predictions(4)
    agent.kill()
    agent.communicate()
    assert beamline.poll() is None, "the scan goes on without the agent"
    rig.wait_for_truth(10)
    # However long the second one takes to start, it comes in mid-run: of which stream the frames
    # of a file are, which holds darks too, nobody could say who had missed the stop as well.
    beamline.send_signal(signal.SIGSTOP)
    second = rig.start_agent()
    rig.wait_until_ready(second)
    beamline.send_signal(signal.SIGCONT)
    assert beamline.wait(timeout=120) == 0, beamline.communicate()[1]

    found = rig.predictions(40, patience=180)
    assert sorted(p["key"]["seq_num"] for p in found) == list(range(1, 41))
    (run_uid,) = {p["key"]["run_uid"] for p in found}
    assert sorted(rig.tiled_rows(run_uid, 40)["seq_num"]) == list(range(1, 41))
    assert {p["provenance"]["dark_hash"] for p in found} == {found[0]["provenance"]["dark_hash"]}
    text = rig.terminate(second)
    assert second.returncode == 0, text


def test_a_terminated_agent_leaves_nothing_undone_that_the_next_cannot_do(rig: Rig):
    agent, beamline = rig.start_both("growth", "--frames", "12", "--rate", "6", "--binning", "4")
    rig.predictions(2)
    text = rig.terminate(agent, patience=8)
    assert agent.returncode == 0, text
    assert beamline.wait(timeout=120) == 0
    # The stop document came while nobody listened: what was seen is answered, no more is known.
    second = rig.start_agent()
    rig.wait_until_ready(second)
    found = rig.predictions(2)
    numbers = [p["key"]["seq_num"] for p in found]
    assert len(numbers) == len(set(numbers))
    text = rig.terminate(second)
    assert second.returncode == 0, text


def test_an_embedded_server_that_dies_stops_the_agent_with_a_clear_line(rig: Rig):
    agent, beamline = rig.start_both("growth", "--frames", "2", "--binning", "4")
    assert beamline.wait(timeout=120) == 0
    assert len(rig.predictions(2)) == 2
    pid = json.loads((rig.folder / "agent" / "redis" / "connection.json").read_text())["pid"]
    os.kill(pid, signal.SIGKILL)
    text = agent.communicate(timeout=60)[1]
    assert agent.returncode == 1
    assert "Traceback" not in text
    assert "the embedded server in" in text.splitlines()[-1]
    second = rig.start_agent()
    rig.wait_until_ready(second)
    assert len(rig.predictions(2)) == 2, "what it had is on disk"
    rig.terminate(second)
