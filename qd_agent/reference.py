"""The configuration reference, made from the settings themselves.

`python -m qd_agent.reference` writes `docs/reference/configuration.md` and its JSON schema; a test
checks that both are current.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from qd_agent.config import Config

_HEAD = """\
# Configuration of the agent

One YAML file for `qd-agent run`, `check` and `status`. Relative paths are relative to the file.
Made from the settings by `python -m qd_agent.reference`; do not edit.
"""


def render() -> str:
    """Give the reference as Markdown: one table for each part of the tree."""
    parts = [_HEAD, *_sections("", Config)]
    return "\n".join(parts)


def render_schema() -> str:
    """Give the JSON schema of a configuration file, for editors that complete and check."""
    return json.dumps(Config.model_json_schema(), indent=2) + "\n"


def _sections(path: str, model: type[BaseModel]) -> Generator[str]:
    doc = (model.__doc__ or "").strip().splitlines()[0]
    yield f"## {f'`{path}`' if path else 'Top level'}\n\n{doc}\n"
    plain = {n: f for n, f in model.model_fields.items() if not _settings(f)}
    if plain:
        yield "| key | type | default | meaning |\n|---|---|---|---|"
        for name, field in plain.items():
            yield f"| `{name}` | {_type(field)} | {_default(field)} | {field.description} |"
        yield ""
    for name, field in model.model_fields.items():
        for inner in _settings(field):
            yield from _sections(f"{path}.{name}".lstrip("."), inner)


def _settings(field: FieldInfo) -> list[type[BaseModel]]:
    """Give the settings that stand under a key: one, or one for each kind; none for a value."""
    return [found for found in _parts(field.annotation) if _is_settings(found)]


def _parts(annotation: object) -> list[Any]:
    """Give the types in `annotation`, whether it is a list, a union or annotated."""
    inner = get_args(annotation)
    return [part for one in inner for part in _parts(one)] if inner else [annotation]


def _is_settings(annotation: object) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _type(field: FieldInfo) -> str:
    annotation = field.annotation
    text = annotation.__name__ if isinstance(annotation, type) else str(annotation)
    for long, short in (("pathlib._local.", ""), ("pathlib.", ""), ("typing.", ""), ("|", "or")):
        text = text.replace(long, short)
    return f"`{text}`"


def _default(field: FieldInfo) -> str:
    if field.default is PydanticUndefined:
        return "required"
    value = "null" if field.default is None else field.default
    return f"`{value}`"


def main() -> None:
    """Write both files into `docs/reference` of the checkout that this module stands in."""
    folder = Path(__file__).resolve().parents[1] / "docs" / "reference"
    (folder / "configuration.md").write_text(render(), encoding="utf-8")
    (folder / "configuration.schema.json").write_text(render_schema(), encoding="utf-8")
    sys.stdout.write(f"written to {folder}\n")


if __name__ == "__main__":
    main()
