"""The model on disk: weights, cluster library and a card; checked when read, never unpickled.

Three files: `weights.safetensors`, `library.safetensors` (pair multiplicities, form factors, and
the prior of the background: all that an explaining Debye pattern needs) and `card.json`, which
holds the sha256 of the other two. The sha256 of the card therefore names the whole model.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load as load_arrays
from safetensors.numpy import save as save_arrays
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from qd_agent.core.errors import Fatal
from qd_agent.inference.calibration import Calibration
from qd_agent.inference.network import POINTS, NetworkConfig, SizingNetwork
from qd_agent.scattering.forward import ClusterLibrary

FORMAT = 4
WEIGHTS, LIBRARY, CARD = "weights.safetensors", "library.safetensors", "card.json"
SHIPPED = Path(__file__).resolve().parents[1] / "models" / "pbs"


class Thresholds(BaseModel):
    """Where a size is no longer given; each is a quantile over simulated good patterns."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    nothing: float = Field(default=0.5, description="largest probability of 'nothing' to be sized")
    foreign: float = Field(default=0.5, description="largest probability of 'foreign' to be sized")
    significance: float = Field(default=3.0, description="least significance of the Debye part")
    misfit: float = Field(
        default=0.5, description="largest structured residual relative to the Debye part's contrast"
    )
    relative_sd: float = Field(default=0.25, description="largest sd relative to the diameter")


class Card(BaseModel):
    """What the model is, how it was made and what it reaches."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: int = FORMAT
    name: str
    version: str
    description: str
    network: dict[str, object]
    calibration: Calibration = Calibration()
    thresholds: Thresholds = Thresholds()
    training: dict[str, object] = Field(
        default_factory=dict[str, object], description="seed, schedule, priors"
    )
    evaluation: dict[str, object] = Field(
        default_factory=dict[str, object], description="measured figures, with the failures"
    )
    files: dict[str, str] = Field(
        default_factory=dict[str, str], description="sha256 of every other file of the model"
    )


@dataclass(frozen=True)
class Artifact:
    """A model in memory.

    Attributes:
        network: in evaluation mode, no gradients.
        library: multiplicities of every cluster.
        form_q, form_lead, form_sulfur: f0 of Pb and S on a Q grid (1/Å), to interpolate.
        liquids: prior of the background, shape (bins, k): standard normal multiples of the columns
            are like the backgrounds of the training set, of mean 1.
        sha256: of the card.
    """

    card: Card
    network: SizingNetwork
    library: ClusterLibrary
    form_q: np.ndarray[tuple[int], np.dtype[np.float64]]
    form_lead: np.ndarray[tuple[int], np.dtype[np.float64]]
    form_sulfur: np.ndarray[tuple[int], np.dtype[np.float64]]
    liquids: np.ndarray[tuple[int, int], np.dtype[np.float64]]
    sha256: str


def write_artifact(
    folder: Path,
    card: Card,
    network: SizingNetwork,
    library: ClusterLibrary,
    form: tuple[np.ndarray, np.ndarray, np.ndarray],
    *,
    liquids: np.ndarray,
) -> Card:
    """Write a model to `folder`; gives the card with its checksums."""
    folder.mkdir(parents=True, exist_ok=True)
    state = {k: v.detach().clone().contiguous() for k, v in network.state_dict().items()}
    arrays = {name: _compact(getattr(library, name)) for name in _LIBRARY_FIELDS}
    arrays |= dict(zip(("form_q", "form_lead", "form_sulfur"), form, strict=True))
    arrays["liquids"] = liquids.astype(np.float32)
    contents = {
        WEIGHTS: save_tensors(state),
        LIBRARY: save_arrays({k: np.ascontiguousarray(v) for k, v in arrays.items()}),
    }
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    files = {name: _sha256(content) for name, content in contents.items()}
    finished = card.model_copy(update={"files": files})
    (folder / CARD).write_text(finished.model_dump_json(indent=2) + "\n", encoding="utf-8")
    return finished


def read_artifact(folder: Path | None = None) -> Artifact:
    """Read and check a model; `None` is the shipped one.

    Raises:
        Fatal: a file is missing, has another checksum than the card says, or cannot be understood.
    """
    where = folder or SHIPPED
    raw = _read(where, CARD)
    _check_format(where / CARD, raw)
    try:
        card = Card.model_validate_json(raw)
    except ValidationError as error:
        raise Fatal(
            f"{where / CARD} is not a model card: {_first_line(error)}; make the model again"
        ) from error
    contents = {name: _checked(where, name, card) for name in (WEIGHTS, LIBRARY)}
    try:
        network = _network(card, contents[WEIGHTS])
        arrays = load_arrays(contents[LIBRARY])
        library = ClusterLibrary(**{n: arrays[n].astype(np.float64) for n in _LIBRARY_FIELDS})
        form = (arrays["form_q"], arrays["form_lead"], arrays["form_sulfur"])
        liquids = _liquids(arrays["liquids"])
    except (SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise Fatal(f"the model in {where} does not fit together: {_first_line(error)}") from error
    return Artifact(card, network, library, *form, liquids, sha256=_sha256(raw))


def _check_format(path: Path, raw: bytes) -> None:
    """Refuse the card of another version, before what it holds is found to be odd."""
    try:
        card = json.loads(raw)
    except ValueError:
        return  # what is wrong with it is said where it is read
    given = card.get("format", FORMAT) if isinstance(card, dict) else FORMAT
    if given == FORMAT:
        return
    newer = isinstance(given, int) and given > FORMAT
    todo = "update qd-agent" if newer else "make the model again with qd-train build"
    raise Fatal(f"{path} has format {given}, this version reads {FORMAT}; {todo}")


_LIBRARY_FIELDS = (
    "diameters",
    "lead",
    "sulfur",
    "even",
    "odd",
    "lead_lead",
    "sulfur_sulfur",
    "lead_sulfur",
)


def _compact(values: np.ndarray) -> np.ndarray:
    """Use single precision where it is exact (counts up to 2²⁴), else keep double."""
    single = values.astype(np.float32)
    return single if np.array_equal(single.astype(np.float64), values) else values


def _network(card: Card, weights: bytes) -> SizingNetwork:
    network = SizingNetwork(NetworkConfig.from_dict(card.network))
    network.load_state_dict(load_tensors(weights))
    if not all(bool(torch.isfinite(p).all()) for p in network.parameters()):
        raise ValueError("the weights are not finite")
    return network.eval().requires_grad_(requires_grad=False)


def _liquids(values: np.ndarray) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    if values.ndim != 2 or values.shape[0] != POINTS or not np.isfinite(values).all():
        raise ValueError(f"liquids of shape {values.shape}, not ({POINTS}, k), or not finite")
    return values.astype(np.float64)


def _checked(folder: Path, name: str, card: Card) -> bytes:
    content = _read(folder, name)
    if _sha256(content) != card.files.get(name):
        raise Fatal(
            f"{folder / name} is not the file that its card names (sha256 differs); it is damaged "
            "or was changed: install the package again or make the model again"
        )
    return content


def _read(folder: Path, name: str) -> bytes:
    try:
        return (folder / name).read_bytes()
    except OSError as error:
        raise Fatal(
            f"no model in {folder}: {name} cannot be read ({error.strerror}); give the folder of a "
            "model, or make one with `qd-train build`"
        ) from error


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _first_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


def card_text(card: Card) -> str:
    """Give the card as indented JSON."""
    return json.dumps(card.model_dump(mode="json"), indent=2, ensure_ascii=False)
