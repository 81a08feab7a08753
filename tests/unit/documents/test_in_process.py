"""The queue between a RunEngine and an agent: nothing waits, nothing is lost, order is kept."""

import os

import numpy as np
import pytest

from qd_agent.core.errors import BadFrame
from qd_agent.documents import in_process
from qd_agent.documents.in_process import InProcessSource, _Spool
from tests.helpers.documents import step_scan


@pytest.fixture
def source(tmp_path):
    made = InProcessSource(tmp_path / "data")
    yield made
    made.close()


def drained(source):
    found = []
    while (document := source.receive(0.0)) is not None:
        found.append(document)
    return found


def test_documents_come_out_as_they_went_in(source):
    documents = step_scan(3)
    for document in documents:
        source.put(*document)
    assert drained(source) == documents
    assert not source.settled
    source.acknowledge(len(documents))
    assert source.settled
    assert source.wait_until_settled(0.0)


def test_what_is_changed_after_it_was_handed_over_stays_as_it_was(source):
    doc = {"uid": "u", "data": {"image": np.arange(4)}}
    source.put("event", doc)
    doc["data"]["image"][:] = 7
    ((_, received),) = drained(source)
    assert received["data"]["image"].tolist() == [0, 1, 2, 3]


def test_beyond_its_memory_it_goes_on_on_disk_in_order(source, monkeypatch, tmp_path):
    monkeypatch.setattr(in_process, "MEMORY_BYTES", 200)
    for n in range(100):
        source.put("event", {"n": n, "image": np.zeros(50)})
        if n == 60:
            early = drained(source)[:]
    found = early + drained(source)
    assert [doc["n"] for _, doc in found] == list(range(100))
    assert source._spool is not None, "it was needed"
    assert os.fstat(source._spool._file.fileno()).st_size == 0, "and is empty again"
    assert list((tmp_path / "data").iterdir()) == [], "the file has no name"


def test_on_a_full_disk_it_goes_on_in_memory_in_order(source, monkeypatch):
    monkeypatch.setattr(in_process, "MEMORY_BYTES", 200)
    full = iter([False, False, False, True, False])
    put = _Spool.put

    def sometimes(self, name, body):
        if next(full, False):
            raise OSError(28, "No space left on device")
        put(self, name, body)

    monkeypatch.setattr(_Spool, "put", sometimes)
    for n in range(30):
        source.put("event", {"n": n, "text": "x" * 50})
    assert [doc["n"] for _, doc in drained(source)] == list(range(30))


def test_what_has_no_safe_form_is_refused_and_holds_nobody_up(source):
    with pytest.raises(BadFrame):
        source.put("start", {"uid": object()})
    source.put("start", {"uid": "u"})
    assert drained(source) == [("start", {"uid": "u"})]
    source.acknowledge(1)
    assert source.settled


def test_a_closed_queue_takes_nothing_and_may_be_closed_again(source):
    source.close()
    source.put("start", {"uid": "u"})
    assert source.receive(0.0) is None
    source.close()
