"""Tries again while a file may still become what is asked of it, up to a deadline."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import TypeVar

from qd_agent.core.errors import Unavailable
from qd_agent.core.frame import FrameKey

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.005, 0.1
"""Pause between two tries: doubled from the first up to the longest."""
STALLED_REMEMBERED = 1000
"""Files remembered that kept a frame waiting in vain."""

_T = TypeVar("_T")


class Patience:
    """Waits for files; a file that kept a frame waiting in vain is not waited for again.

    Whoever asks is to come again later, and nobody behind waits meanwhile; once the file has
    yielded a frame it is waited for as any other.

    Args:
        deadline_s: longest wait for one frame, s.
        stopping: asked while waiting; once it says so, nothing is waited for.
    """

    def __init__(self, deadline_s: float, stopping: Callable[[], bool]) -> None:
        self._deadline_s, self._stopping = deadline_s, stopping
        self._stalled: OrderedDict[str, None] = OrderedDict()

    def wait_for(
        self,
        name: str,
        key: FrameKey,
        attempt: Callable[[], _T],
        failures: tuple[type[Exception], ...],
        after: Callable[[Exception, float], None] = lambda _error, _pause: None,
    ) -> _T:
        """Give what `attempt` gives.

        Args:
            name: the file (or the folder) whose stall is remembered.
            key: the frame, for the message.
            attempt: one try.
            failures: errors beside Unavailable that may pass.
            after: told of each failure in vain, and of the pause that follows it.

        Raises:
            Unavailable: every try until the deadline failed; it may still work later.
        """
        started = time.monotonic()
        patience = 0.0 if name in self._stalled else self._deadline_s
        pause = FIRST_PAUSE_S
        while True:
            try:
                found = attempt()
            except (Unavailable, *failures) as error:
                after(error, pause)
                waited = time.monotonic() - started
                if waited + pause > patience or self._stopping():
                    self._remember(name)
                    raise Unavailable(
                        f"frame {key} is not readable after {waited:.1f} s: {reason_of(error)}"
                    ) from error
            else:
                self._stalled.pop(name, None)
                return found
            time.sleep(pause)
            pause = min(2.0 * pause, LONGEST_PAUSE_S)

    def _remember(self, name: str) -> None:
        self._stalled[name] = None
        self._stalled.move_to_end(name)
        while len(self._stalled) > STALLED_REMEMBERED:
            self._stalled.popitem(last=False)


def reason_of(error: BaseException) -> str:
    """Say in one line why a file could not be read."""
    text = str(error.args[0] if isinstance(error, KeyError) and error.args else error)
    return " ".join(text.split())[:200]
