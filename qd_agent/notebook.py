"""An agent inside of the process that runs the plans: `RE.subscribe(NotebookAgent(...))`."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import structlog

from qd_agent.config import SINKS, Config, ledger_path, load_config
from qd_agent.core.errors import BadFrame, QdError
from qd_agent.core.prediction import Prediction
from qd_agent.documents.in_process import InProcessSource
from qd_agent.refusals import Refusals

_log = structlog.get_logger(__name__)

NAME = "this process"
REMEMBERED = 10_000
"""Predictions that can be asked for here; the stores keep all of them."""

Begun = Callable[[], None]
OnAnswer = Callable[[Prediction], None]
Serve = Callable[[Config, InProcessSource, threading.Event, Begun, OnAnswer], None]


class NotebookAgent:
    """A RunEngine callback that sizes the frames of every plan, beside the plan.

    The agent works on a thread of its own, with the same path, books and stores as `qd-agent run`;
    only the `source` of its configuration is not used. Whatever becomes of it, a plan neither
    fails nor waits: a document is encoded and put into a queue, which goes on on disk when it
    grows large. After a failure of the agent, `state` says why, and documents are let go; what a
    run lacks is found in its files and in Tiled by the next agent.

    Example:
        >>> agent = NotebookAgent("agent.yaml")
        >>> RE.subscribe(agent)
        >>> RE(count([detector], 10))
        >>> agent.wait()
        >>> [p.diameter_nm for p in agent.predictions()]
        >>> agent.close()

    Args:
        config: a configuration, or its file.
        serve: what runs on the thread; only tests give another one.

    Attributes:
        state: 'starting', 'running', 'stopped', or why it has failed.

    Raises:
        Mistake: the configuration is wrong; one line for each mistake.
    """

    def __init__(self, config: Config | Path | str, serve: Serve | None = None) -> None:
        self._config = config if isinstance(config, Config) else load_config(Path(config))
        self._serve = serve or _serve
        self._source = InProcessSource(self._config.data)
        self._stopping = threading.Event()
        self._predictions: deque[Prediction] = deque(maxlen=REMEMBERED)
        self._refusals = Refusals("document refused")
        self._let_go = 0
        self._heard = self._answered_before = 0
        self.state = "starting"
        self._thread = threading.Thread(target=self._run, name="agent", daemon=True)
        self._thread.start()

    def __call__(self, name: str, doc: Mapping[str, object]) -> None:
        """Hand a document to the agent; never raises, and never waits for the agent."""
        if not self._thread.is_alive():
            self._let_go += 1
            if self._let_go == 1:
                _log.warning("the agent does not run, documents are let go", reason=self.state)
            return
        try:
            self._source.put(name, doc)
        except BadFrame as error:
            self._refusals.take(error, document=name)
        except Exception as error:  # noqa: BLE001 - whatever it is, no plan shall end by it
            _log.error("document lost", document=name, reason=f"{type(error).__name__}: {error}")

    def predictions(self, run_uid: str | None = None) -> list[Prediction]:
        """Give the answers to the frames of one run, or of all since the start, as they came."""
        return [p for p in list(self._predictions) if run_uid in {None, p.key.run_uid}]

    def wait(self, timeout: float = 60.0) -> bool:
        """Wait until every frame that was handed over is answered; False after `timeout` s."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline and self._thread.is_alive():
            if self._source.wait_until_settled(0.2) and self._is_answered():
                return True
            self._stopping.wait(0.05)
        return False

    def close(self, timeout: float = 30.0) -> None:
        """Stop the agent, after what was handed over is in its books; a second call does nothing.

        Args:
            timeout: the longest wait for that, s.
        """
        deadline = time.monotonic() + timeout
        while self._thread.is_alive() and time.monotonic() < deadline:
            if self._source.wait_until_settled(0.2):
                break
        self._stopping.set()
        self._thread.join(max(0.0, deadline - time.monotonic()))
        self._source.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _run(self) -> None:
        state = "failed unexpectedly; the traceback is in the log"
        try:
            self._serve(self._config, self._source, self._stopping, self._begun, self._hear)
            state = "stopped"
        except QdError as error:
            state = f"failed: {error}"
            _log.error("the agent has failed, plans go on without it", reason=str(error))
        finally:
            self.state = state

    def _begun(self) -> None:
        self._answered_before = self._answered()[0]
        self.state = "running"

    def _hear(self, prediction: Prediction) -> None:
        self._predictions.append(prediction)
        self._heard += 1

    def _is_answered(self) -> bool:
        # An answer is in the books a moment before it is heard of.
        answered, waiting = self._answered()
        return waiting == 0 and answered - self._answered_before <= self._heard

    def _answered(self) -> tuple[int, int]:
        """Count the frames that are answered and those that wait, by the books."""
        from qd_agent.ledger import Books  # noqa: PLC0415 - SQLite, when asked

        path = ledger_path(self._config)
        if not path.exists():
            return 0, 0
        books = Books(path, SINKS, migrate=False)
        try:
            account = books.account()
        finally:
            books.close()
        return account.seen - account.open, account.open


def _serve(
    config: Config,
    source: InProcessSource,
    stopping: threading.Event,
    begun: Begun,
    on_answer: OnAnswer,
) -> None:
    from qd_agent.daemon import run_beside  # noqa: PLC0415 - torch and pyFAI, on our thread

    run_beside(config, {NAME: source}, stopping, begun, on_answer)
