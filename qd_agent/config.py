"""The agent's configuration: one YAML file, one tree of small settings, every mistake by its line.

Relative paths are relative to the file. Each room is given its own part of the tree.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal, TypeGuard, TypeVar, cast, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
)
from pydantic_core import PydanticCustomError

from qd_agent.core.errors import Mistake
from qd_agent.dashboard.settings import DashboardSettings
from qd_agent.documents.metadata_settings import MetadataSettings
from qd_agent.documents.settings import KINDS, RouterSettings, SourceSettings, ZmqSettings
from qd_agent.frames.settings import FrameSettings
from qd_agent.inference.settings import SizerSettings
from qd_agent.ledger.settings import LedgerSettings, ReconcileSettings
from qd_agent.metrics import MetricsSettings
from qd_agent.reduction.settings import DetectorSettings, ReductionSettings, StripSettings
from qd_agent.sinks.settings import RedisSettings, TiledSettings

_Settings = TypeVar("_Settings", bound=BaseModel)


SINKS = ("redis", "tiled")
"""Names of the stores that every prediction must reach."""


def _listed(value: object) -> object:
    """Give a single source as a list of one."""
    return [value] if isinstance(value, Mapping | BaseModel) else value


def _without_doubles(sources: list[SourceSettings]) -> list[SourceSettings]:
    names = [source.shown for source in sources]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"{name} is named twice")
    return sources


def _some_geometry(
    reduction: ReductionSettings | None, info: ValidationInfo
) -> ReductionSettings | None:
    if reduction is None and info.data.get("detectors") == {}:
        raise PydanticCustomError("missing", "no geometry")
    return reduction


class Config(BaseModel):
    """Everything that `qd-agent run` needs to know."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    agent_id: str = Field(
        default="qd-agent", pattern=r"^[\w.-]{1,64}$", description="name of this agent in Redis"
    )
    data: Path = Field(
        default=Path("qd-data"),
        description="folder for the ledger and, where no URL is given, the embedded servers",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="least severity that is logged"
    )
    order: Literal["newest_first", "oldest_first"] = Field(
        default="newest_first",
        description="which frame goes first when they come faster than they are sized; the others "
        "are sized later either way",
    )
    source: Annotated[
        list[SourceSettings],
        AfterValidator(_without_doubles),
        BeforeValidator(_listed, json_schema_input_type=SourceSettings | list[SourceSettings]),
    ] = Field(
        default_factory=lambda: [ZmqSettings()],
        min_length=1,
        max_length=16,
        description="where documents come from: one source, or a list of several at once",
    )
    router: RouterSettings = Field(
        default_factory=RouterSettings, description="which streams and detectors are sized"
    )
    metadata: MetadataSettings = Field(
        default_factory=MetadataSettings,
        description="where documents say what a frame was taken with",
    )
    frames: FrameSettings = Field(
        default_factory=FrameSettings, description="which files may be read"
    )
    detectors: dict[str, DetectorSettings] = Field(
        default={},
        description="detectors with settings of their own, by data key: further images (keys as in "
        "`reduction`), or strips (`kind: strip`, with an `axis`)",
    )
    reduction: Annotated[ReductionSettings | None, AfterValidator(_some_geometry)] = Field(
        default=None,
        validate_default=True,
        description="how images become patterns, of every detector that `detectors` does not name",
    )
    sizer: SizerSettings = Field(default_factory=SizerSettings, description="the model")
    ledger: LedgerSettings = Field(default_factory=LedgerSettings, description="the books")
    reconcile: ReconcileSettings = Field(
        default_factory=ReconcileSettings, description="books against Tiled"
    )
    redis: RedisSettings = Field(default_factory=RedisSettings, description="live predictions")
    tiled: TiledSettings = Field(default_factory=TiledSettings, description="predictions to keep")
    metrics: MetricsSettings = Field(
        default_factory=MetricsSettings, description="for Prometheus and health checks"
    )
    dashboard: DashboardSettings = Field(
        default_factory=DashboardSettings, description="the live page"
    )

    def routing(self) -> RouterSettings:
        """Give the router's settings, with the strip detectors that are described here."""
        found = [k for k, d in self.detectors.items() if isinstance(d, StripSettings)]
        strips = list(dict.fromkeys([*self.router.strips, *found]))
        return self.router.model_copy(update={"strips": strips})

    def numbers_hash(self) -> str:
        """Hash of the settings that a number depends on (router, reduction, sizer, ...)."""
        names = {"router", "reduction", "sizer"} | ({"detectors"} if self.detectors else set())
        names |= {"metadata"} if self.metadata != MetadataSettings() else set()
        parts = self.model_dump(mode="json", include=names)
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def ledger_path(config: Config) -> Path:
    """Give the ledger's file."""
    return config.data / "ledger.sqlite"


def load_config(path: Path) -> Config:
    """Read and validate a configuration file.

    Raises:
        Mistake: the file is absent, is not YAML, or any value in it is wrong.
    """
    tree, lines = _read_yaml(path)
    try:
        config = Config.model_validate(tree)
    except ValidationError as error:
        raise Mistake(
            "\n".join(
                f"{path}:{_line(lines, place)}: {_describe(place, dict(item))}"
                for item in error.errors(include_url=False)
                for place in [_as_written(item["loc"], item["type"], lines)]
            )
        ) from error
    return _anchored(config, path.resolve().parent)


Lines = Mapping[tuple[str | int, ...], int]


def _read_yaml(path: Path) -> tuple[object, Lines]:
    from ruamel.yaml import YAML  # noqa: PLC0415 - `qd-agent --help` does not need it
    from ruamel.yaml.error import YAMLError  # noqa: PLC0415

    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not text"
        raise Mistake(f"{path}: cannot be read: {reason}") from error
    try:
        node = YAML(typ="rt").load(text)
    except YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = mark.line + 1 if mark is not None else 1
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise Mistake(f"{path}:{line}: not valid YAML: {problem}") from error
    if node is None:
        node = {}
    if not isinstance(node, dict):
        raise Mistake(f"{path}:1: expected `key: value` lines, found {node!r}")
    lines: dict[tuple[str | int, ...], int] = {}
    return _plain(node, (), lines), lines


def _plain(
    node: object, place: tuple[str | int, ...], lines: dict[tuple[str | int, ...], int]
) -> object:
    """Turn ruamel's nodes into plain values, noting the line of every key."""
    if isinstance(node, dict):
        for key in node:
            lines[*place, str(key)] = _line_of(node, key, place, lines)
        return {str(key): _plain(value, (*place, str(key)), lines) for key, value in node.items()}
    if isinstance(node, list):
        for i in range(len(node)):
            lines[*place, i] = _line_of(node, i, place, lines)
        return [_plain(value, (*place, i), lines) for i, value in enumerate(node)]
    return node


def _line_of(node: object, key: object, place: tuple[str | int, ...], lines: Lines) -> int:
    """Give the line of a key or item; merged and tagged ones have none, they get their parent's."""
    known: object = getattr(getattr(node, "lc", None), "data", None)
    if isinstance(known, dict) and key in known:
        return int(known[key][0]) + 1
    return _line(lines, place)


def _line(lines: Lines, place: tuple[str | int, ...]) -> int:
    """Line of the innermost part of `place` that stands in the file, else 1."""
    for length in range(len(place), 0, -1):
        if place[:length] in lines:
            return lines[place[:length]]
    return 1


def _as_written(place: tuple[str | int, ...], mistake: str, lines: Lines) -> tuple[str | int, ...]:
    """Give the place of a value as the file has it: a single source is not written as a list."""
    if place[:1] == ("detectors",):  # the kind of settings is no key of the file
        return (*place[:2], *place[3:])
    if place[:1] != ("source",) or len(place) < 2:
        return place
    number = place[1:2] if place[:2] in lines else ()
    kind = ("kind",) if mistake == "union_tag_invalid" else ()
    return ("source", *number, *(part for part in place[2:] if part not in KINDS), *kind)


def _describe(place: tuple[str | int, ...], item: Mapping[str, object]) -> str:
    name = ".".join(str(part) for part in place)
    if item["type"] == "union_tag_invalid":
        return f"{name}: expected {' or '.join(KINDS)}, found {_found(item, 'kind')!r}"
    if item["type"] == "extra_forbidden":
        allowed = _allowed_keys(place[:-1], _kind_in(cast("tuple[str | int, ...]", item["loc"])))
        return f"{name}: unknown key; allowed here: {', '.join(allowed)}"
    if item["type"] == "missing":
        return f"{name}: missing, and it has no default"
    # What was found may be a secret, or hold one.
    secret = place[:1] in (("redis",), ("tiled",)) or place[-1:] == ("sasl_password_env",)
    if secret or not isinstance(item["input"], str | int | float):
        return f"{name}: {item['msg']}"
    return f"{name}: {item['msg']}, found {item['input']!r}"


def _found(item: Mapping[str, object], key: str) -> object:
    found = item["input"]
    return cast("Mapping[str, object]", found).get(key) if isinstance(found, Mapping) else found


def _kind_in(place: Sequence[str | int]) -> str:
    if place[:1] == ("detectors",):
        return str(place[2])
    return next((str(part) for part in place[1:] if part in KINDS), "zmq")


def _allowed_keys(place: Sequence[str | int], kind: str) -> list[str]:
    model: type[BaseModel] = Config
    if place[:1] == ("detectors",):
        model, place = (StripSettings if kind == "strip" else ReductionSettings), place[2:]
    for part in place:
        if isinstance(part, int):
            continue
        annotation = KINDS[kind] if part == "source" else model.model_fields[part].annotation
        found = [a for a in (annotation, *get_args(annotation)) if _is_settings(a)]
        if not found:
            break
        model = found[0]
    return sorted(model.model_fields)


def _is_settings(annotation: object) -> TypeGuard[type[BaseModel]]:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _anchored(model: _Settings, folder: Path) -> _Settings:
    """Make every relative path in a settings tree relative to `folder`."""
    changed: dict[str, object] = {}
    for name in type(model).model_fields:
        value = getattr(model, name)
        if isinstance(value, BaseModel):
            changed[name] = _anchored(value, folder)
        elif isinstance(value, Path):
            changed[name] = folder / value.expanduser()
        elif isinstance(value, list):
            changed[name] = [_anchored_item(item, folder) for item in value]
        elif isinstance(value, dict):
            changed[name] = {key: _anchored_item(item, folder) for key, item in value.items()}
    return model.model_copy(update=changed)


def _anchored_item(item: object, folder: Path) -> object:
    if isinstance(item, BaseModel):
        return _anchored(item, folder)
    return folder / item.expanduser() if isinstance(item, Path) else item
