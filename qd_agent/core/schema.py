"""The JSON schema of a prediction: `python -m qd_agent.core.schema` writes it into docs/."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from qd_agent.core.prediction import SCHEMA_VERSION, Prediction

SCHEMA_PATH = Path("docs/reference/prediction.schema.json")
"""Where the repository keeps it, relative to its root."""


def prediction_schema() -> str:
    """Give the schema of what the sinks store, as JSON text that ends with a line break."""
    schema = Prediction.model_json_schema(mode="serialization")
    head = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:qd-agent:prediction:{SCHEMA_VERSION}",
    }
    return json.dumps(head | schema, indent=2, ensure_ascii=False) + "\n"


def main(arguments: list[str]) -> None:
    """Write the schema to the path given, or to its place in the repository we stand in."""
    path = Path(arguments[0]) if arguments else SCHEMA_PATH
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(prediction_schema(), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
