"""The queue in front of Tiled: whatever Tiled does, the scan goes on."""

import logging
import threading

import pytest

from simulated_beamline.archive import Account, TiledArchive, one_line

LIMIT = 60.0
RUN = [("start", {}), ("event", {}), ("event", {}), ("stop", {})]


class Store:
    """Takes documents, and fails where it is told to."""

    def __init__(self, fail_at=()):
        self.got, self.calls, self.fail_at = [], 0, set(fail_at)

    def __call__(self, name, document):
        self.calls += 1
        if self.calls in self.fail_at:
            raise OSError("gone")
        self.got.append(name)


def offer(archive, documents):
    for name, document in documents:
        archive(name, document)


def test_everything_is_written_in_order():
    store = Store()
    archive = TiledArchive(lambda: store, "Tiled")
    offer(archive, RUN)
    assert archive.close(LIMIT) == Account(written=4, not_written=0)
    assert store.got == ["start", "event", "event", "stop"]


def test_a_server_that_is_away_costs_one_line(caplog):
    def away():
        raise ConnectionRefusedError("connection refused")

    archive = TiledArchive(away, "Tiled at x", retry_s=0.01)
    offer(archive, RUN)
    with caplog.at_level(logging.WARNING):
        assert archive.close(LIMIT) == Account(written=0, not_written=4)
    away_lines = [r for r in caplog.messages if "is away" in r]
    assert away_lines == ["Tiled at x is away (connection refused); the scan goes on"]
    assert "Tiled at x did not take 4 documents" in caplog.messages


def test_documents_wait_for_a_server_that_comes_late():
    store, came = Store(), threading.Event()

    def late():
        if not came.is_set():
            raise ConnectionRefusedError("not yet")
        return store

    archive = TiledArchive(late, "Tiled", retry_s=0.01)
    offer(archive, RUN)
    came.set()
    assert archive.close(LIMIT) == Account(written=4, not_written=0)


def test_after_a_failure_the_rest_of_the_run_is_given_up_and_the_next_run_written(caplog):
    store = Store(fail_at={2})
    archive = TiledArchive(lambda: store, "Tiled")
    with caplog.at_level(logging.WARNING):
        offer(archive, RUN + RUN)
        assert archive.close(LIMIT) == Account(written=5, not_written=3)
    assert store.got == ["start", "start", "event", "event", "stop"]
    assert sum("refused" in line for line in caplog.messages) == 1


def test_a_server_that_hangs_never_holds_up_the_scan(caplog):
    release, entered = threading.Event(), threading.Event()

    def hang(_name, _document):
        entered.set()
        release.wait(LIMIT)

    archive = TiledArchive(lambda: hang, "Tiled", capacity=2)
    with caplog.at_level(logging.WARNING):
        archive("start", {})
        assert entered.wait(LIMIT)
        offer(archive, [("event", {})] * 50)  # returns, although nothing can be written
        account = archive.close(0.05)
    release.set()
    assert account == Account(written=0, not_written=51)
    assert sum("cannot keep up" in line for line in caplog.messages) == 1


@pytest.mark.parametrize(
    ("error", "text"),
    [(OSError("a\n  b"), "a b"), (RuntimeError(), "RuntimeError"), (OSError("x" * 500), "x" * 199)],
)
def test_errors_are_told_in_one_line(error, text):
    assert one_line(error).startswith(text)
    assert "\n" not in one_line(error)
    assert len(one_line(error)) <= 200
