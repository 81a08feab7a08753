"""The books on the command line, beside an agent that holds them and without one."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from qd_agent.cli import app
from qd_agent.config import SINKS
from qd_agent.core.errors import Fatal, Mistake
from qd_agent.core.frame import RunClosed, RunOpened
from qd_agent.core.prediction import Estimate, Verdict
from qd_agent.daemon_lock import alone_in
from qd_agent.ledger import Ledger
from tests.helpers import records

BAD = Estimate(verdict=Verdict.BAD_FRAME, reason="not readable: truncated")


@pytest.fixture
def data(tmp_path: Path):
    """A ledger with a whole run, one that lacks frames, and an open one."""
    book = Ledger(tmp_path / "ledger.sqlite", "pbs-1", SINKS)
    for run, estimates in {"aa-1": [records.sized(), BAD], "ab-2": [records.sized()]}.items():
        book.open_run(RunOpened(run, 1.7e9, {}))
        for n, estimate in enumerate(estimates, start=1):
            book.see(records.reference(run, n))
            book.predict(records.prediction(run, n, estimate), None, None)
        book.close_run(RunClosed(run, 1.7e9, "success", "", {"primary": 2}))
    book.open_run(RunOpened("c-3", 1.7e9 + 1, {}))
    book.note("c-3", "open, nothing new since: Tiled has no stop document either")
    book.delivered("redis", book.undelivered("redis", 2))
    book.close()
    return tmp_path


def qd(*arguments: str, code: int = 0) -> str:
    done = CliRunner().invoke(app, list(arguments), catch_exceptions=False)
    assert done.exit_code == code, done.output
    return done.stdout


def test_runs_shows_every_account(data: Path):
    lines = qd("runs", "--data", str(data), code=1).splitlines()
    assert [line.split()[0] for line in lines[1:]] == ["aa-1", "ab-2", "c-3", "open,"]
    whole, lacking = lines[1].split(), lines[2].split()
    assert " ".join(whole[3:]) == "success 2 2 1 0 1 0 0 redis 2, tiled 0"
    assert " ".join(lacking[3:]) == "success 2 1 1 0 0 0 1 redis 0, tiled 0"


def test_runs_as_json_says_what_is_expected_and_delivered(data: Path):
    found = json.loads(qd("runs", "--data", str(data), "--json", "--run", "aa"))
    assert len(found) == 1
    assert found[0]["expected"] == found[0]["seen"] == 2
    assert (found[0]["state"], found[0]["missing"]) == ("closed", 0)
    assert found[0]["delivered"] == {"redis": 2, "tiled": 0}
    (opened,) = json.loads(qd("runs", "--data", str(data), "--json", "--run", "c-3"))
    assert (opened["state"], opened["expected"]) == ("open", None)
    assert opened["note"].startswith("open, nothing new since")


def test_a_run_is_named_by_its_beginning_and_mistakes_are_said(data: Path):
    for start, said in (("a", "2 runs begin with 'a'"), ("zz", "no run 'zz'")):
        with pytest.raises(Mistake, match=said):
            qd("runs", "--data", str(data), "--run", start)
    with pytest.raises(Mistake, match="no ledger in"):
        qd("runs", "--data", str(data / "nowhere"))


def test_set_aside_frames_are_listed_with_their_reason(data: Path):
    (line,) = qd("set-aside", "list", "--data", str(data)).splitlines()
    assert line == "aa-1 primary/det frame 2: not readable: truncated"
    (found,) = json.loads(qd("set-aside", "list", "--data", str(data), "--json"))
    assert (found["run_uid"], found["seq_num"], found["revision"]) == ("aa-1", 2, 0)
    assert qd("set-aside", "list", "--data", str(data), "--run", "c-3") == "no frame is set aside\n"


def test_a_retry_reaches_a_running_agent_through_the_books(data: Path):
    agent = Ledger(data / "ledger.sqlite", "pbs-1", SINKS)
    with alone_in(data):
        assert "no such frame" in qd("set-aside", "retry", "--data", str(data), "--frame", "1")
        text = qd("set-aside", "retry", "--data", str(data), "--run", "aa", "--frame", "2")
        assert text == "1 frames are to be tried anew; the running agent takes them up\n"
    todo = agent.next_retry(now=float("inf"))
    assert todo is not None
    assert (todo.reference.key.seq_num, todo.revision) == (2, 1)
    agent.close()


def test_a_retry_without_an_agent_waits_for_the_next_start(data: Path):
    assert "the next start takes them up" in qd("set-aside", "retry", "--data", str(data))


def test_one_agent_at_a_time_holds_a_folder(tmp_path: Path):
    with (
        alone_in(tmp_path),
        pytest.raises(Fatal, match="another agent works in the data folder"),
        alone_in(tmp_path),
    ):
        pass
    with alone_in(tmp_path):
        pass


def test_runs_says_when_a_run_is_looked_up_next_and_which_were_found_and_not_read(data: Path):
    book = Ledger(data / "ledger.sqlite", "pbs-1", SINKS)
    book.agenda.add("ab-2", now=1.7e9)
    book.agenda.put_off("ab-2", 1.7e9 + 60.0, "1 frames are missing: Tiled does not have the run")
    book.agenda.add("c-3", now=1.7e9)
    book.agenda.put_off("c-3", None, "open, nothing new since")
    book.agenda.add("zz-9", now=1.7e9)
    book.agenda.put_off("zz-9", 1.7e9 + 90.0, "Tiled is away", asked=False)
    book.close()
    text = qd("runs", "--data", str(data), code=1)
    assert "looks into Tiled in vain: 1, next at 20" in text
    assert "no more: given up (`qd-agent reconcile` looks once more)" in text
    assert "zz-9                                  found in Tiled, not read yet" in text
    assert "  Tiled is away" in text
    found = {r["uid"]: r for r in json.loads(qd("runs", "--data", str(data), "--json", code=1))}
    assert (found["ab-2"]["looks"], found["ab-2"]["next_look"]) == (1, 1.7e9 + 60.0)
    assert (found["aa-1"]["looks"], found["aa-1"]["next_look"]) == (0, None)
    assert "zz-9" not in qd("runs", "--data", str(data), "--run", "ab", code=1)
