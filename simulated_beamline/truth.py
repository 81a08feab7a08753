"""The truth file: one JSON line per frame, for judges; nothing of it is in any document."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any


class TruthLog:
    """A RunEngine callback that notes the truth of every event in the stream 'primary'.

    Args:
        path: file to write; an existing one is replaced.
        truth: gives the truth of the latest frame.
    """

    def __init__(self, path: Path, truth: Callable[[], Mapping[str, object]]) -> None:
        self.path = path
        self._truth = truth
        self._runs: dict[str, str] = {}
        path.write_text("", encoding="utf-8")

    def __call__(self, name: str, document: Mapping[str, Any]) -> None:
        """Note the truth when an event of 'primary' passes."""
        if name == "descriptor" and document["name"] == "primary":
            self._runs[document["uid"]] = document["run_start"]
        elif name == "event" and document["descriptor"] in self._runs:
            run_uid = self._runs[document["descriptor"]]
            line = {"run_uid": run_uid, "seq_num": document["seq_num"], **self._truth()}
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
