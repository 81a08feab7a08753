"""Whatever becomes of an agent beside a RunEngine, its plans neither fail nor wait."""

import threading

import pytest
from bluesky import RunEngine
from bluesky.plans import count
from ophyd.sim import det
from structlog.testing import capture_logs

from qd_agent.config import Config, ledger_path
from qd_agent.core.errors import Fatal, Mistake
from qd_agent.documents import in_process
from qd_agent.ledger import Ledger
from qd_agent.notebook import NotebookAgent
from tests.helpers import records

PATIENCE = 60.0


@pytest.fixture
def config(tmp_path):
    return Config.model_validate({"data": tmp_path, "reduction": {"poni": tmp_path / "a.poni"}})


@pytest.fixture
def engine():
    return RunEngine({}, context_managers=[])


def heard_by(engine):
    names = []
    engine.subscribe(lambda name, _: names.append(name))
    return names


def test_a_failing_agent_does_not_end_a_plan_and_says_why(config, engine):
    failed = threading.Event()

    def fails(_config, source, *_):
        assert source.receive(PATIENCE)[0] == "start"
        failed.set()
        raise Fatal("the disk is full")

    agent = NotebookAgent(config, serve=fails)
    engine.subscribe(agent)
    names = heard_by(engine)
    with capture_logs() as said:
        engine(count([det], 3))
        assert failed.wait(PATIENCE)
        agent._thread.join(PATIENCE)
        engine(count([det], 2))
    assert names.count("stop") == 2
    assert names.count("event") == 5
    assert agent.state == "failed: the disk is full"
    assert said[0]["event"] == "the agent has failed, plans go on without it"
    assert said[-1]["event"] == "the agent does not run, documents are let go"
    assert agent.wait(1.0) is False
    agent.close()


def test_a_slow_agent_does_not_hold_a_plan_up_and_gets_everything_in_the_end(
    config, engine, monkeypatch
):
    monkeypatch.setattr(in_process, "MEMORY_BYTES", 2000)
    go, received = threading.Event(), []

    def slow(_config, source, stopping, begun, _):
        begun()
        assert go.wait(PATIENCE)
        while not stopping.is_set():
            document = source.receive(0.05)
            if document is not None:
                received.append(document[0])
                source.acknowledge(1)

    agent = NotebookAgent(config, serve=slow)
    engine.subscribe(agent)
    names = heard_by(engine)
    engine(count([det], 50))
    assert received == [], "the plan is over, and the agent has not begun"
    assert names[-1] == "stop"
    go.set()
    agent.close()
    assert received == names
    assert agent.state == "stopped"


def test_an_answer_counts_as_given_when_it_can_be_had(config):
    written, told, waited = threading.Event(), threading.Event(), []

    def serve(config, _source, stopping, begun, on_answer):
        ledger = Ledger(ledger_path(config), "pbs-1", ["redis"])
        begun()
        ledger.see(records.reference(seq_num=1))
        answer = records.prediction(seq_num=1)
        ledger.predict(answer, None, None)
        written.set()
        assert told.wait(PATIENCE)
        on_answer(answer)
        stopping.wait(PATIENCE)
        ledger.close()

    with NotebookAgent(config, serve=serve) as agent:
        assert written.wait(PATIENCE)
        waited.append(agent.wait(0.3))
        told.set()
        waited.append(agent.wait(PATIENCE))
        assert waited == [False, True]
        assert [p.key.seq_num for p in agent.predictions()] == [1]


def test_a_document_without_a_safe_form_is_said_and_the_plan_goes_on(config, engine):
    agent = NotebookAgent(config, serve=lambda _c, _s, stopping, *_: stopping.wait(PATIENCE))
    engine.subscribe(agent)

    class Odd:
        def __fspath__(self):
            raise RuntimeError("not even this works")

    with capture_logs() as said:
        engine(count([det], 1, md={"odd": {1, "a"}}))
        agent("event", {"data": {"path": Odd()}})
    assert [line["event"] for line in said] == ["document refused", "document lost"]
    assert "not even this works" in said[1]["reason"]
    agent.close(timeout=0.5)


def test_a_wrong_configuration_is_said_at_once(tmp_path):
    path = tmp_path / "agent.yaml"
    path.write_text("reduction: {pony: a}\n")
    with pytest.raises(Mistake, match="pony"):
        NotebookAgent(path)
