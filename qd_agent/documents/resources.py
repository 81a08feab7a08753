"""What stream_resources say about where frames lie: datasets, and sequences of files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

from qd_agent.core.errors import BadFrame
from qd_agent.core.frame import Hdf5Location, Location, TiffLocation
from qd_agent.documents.layout import ImageKey
from qd_agent.documents.schema import bounded, mapping
from qd_agent.documents.templates import FileTemplate, read_template

HDF5 = "application/x-hdf5"
TIFF = "image/tiff"
TIFF_SEQUENCE = "multipart/related;type=image/tiff"


@dataclass(frozen=True, slots=True)
class Packing:
    """How many frames a numbered file holds, as far as the stream_resource says.

    Attributes:
        chunk: `chunk_shape`, empty when it is not said.
        files_per_event: number of files of one event, 0 when it is not said.
        concatenated: whether `chunk` counts the frames of a file whatever its other sizes.
        single: whether a file holds one frame, as areaDetector writes them.
    """

    chunk: tuple[int, ...] = ()
    files_per_event: int = 0
    concatenated: bool = False
    single: bool = False

    def frames_per_file(self, key: ImageKey) -> int:
        """Give it for this detector, by the rules of bluesky's consolidators.

        They stand in `MultipartRelatedConsolidator` of bluesky-tiled-plugins.
        """
        if self.files_per_event:
            return max(key.frames // self.files_per_event, 1)
        first = self.chunk[0] if self.chunk else key.frames
        divides = key.frames % first == 0
        if self.single and not self.concatenated:
            return 1
        if divides and (self.concatenated or self.chunk[1:] == key.shape):
            return first
        return key.frames


@dataclass(frozen=True, slots=True)
class Resource:
    """Frames in one file, or in a sequence of numbered files, as a stream_resource names them.

    Attributes:
        uid: of the document.
        data_key: the detector.
        uri: of the file; with a template, what the names of the files are added to.
        dataset: path of the dataset in each file; '' for TIFF.
        template: names of the files; None when all frames lie in one.
        packing: with a template: how many frames a file holds.
    """

    uid: str
    data_key: str
    uri: str
    dataset: str = ""
    template: FileTemplate | None = None
    packing: Packing = Packing()

    @property
    def file(self) -> tuple[str, str]:
        """What tells whether two resources are the same: URI (of the first file), and dataset."""
        # Folder and name may be told apart in more than one place: `dir` `/a_0`, or `dir/` `a_0`.
        uri = self.uri if self.template is None else self.template.uri(self.uri, 0)
        return uri, self.dataset

    @property
    def countable(self) -> bool:
        """Whether its file can be asked how many frames it holds."""
        return bool(self.dataset) and self.template is None

    def location(self, key: ImageKey, index: int, frame: int) -> Location:
        """Say where frame `frame` of the event at `index` lies."""
        place, uri = index * key.frames + frame, self.uri
        if self.template is not None:
            number, place = divmod(place, self.packing.frames_per_file(key))
            uri = self.template.uri(self.uri, number)
        if self.dataset:
            return Hdf5Location(uri=uri, dataset=self.dataset, row=place)
        return TiffLocation(uri=uri, page=place)


def read_resource(doc: Mapping[str, object]) -> Resource:
    """Read a valid stream_resource document.

    Raises:
        BadFrame: of a kind that cannot be read, or a text too long to be kept.
    """
    uid, data_key = bounded(str(doc["uid"]), "uid"), bounded(str(doc["data_key"]), "data key")
    mimetype, parameters = str(doc["mimetype"]).replace(" ", ""), mapping(doc, "parameters")
    if mimetype not in {HDF5, TIFF, TIFF_SEQUENCE}:
        raise BadFrame(
            f"frames of {data_key[:40]!r} are {mimetype[:60]!r}, which cannot be read; {HDF5}, "
            f"{TIFF_SEQUENCE} and {TIFF} can"
        )
    dataset = _dataset(parameters, data_key) if mimetype == HDF5 else ""
    template = parameters.get("template")
    if template is None and mimetype == TIFF_SEQUENCE:
        raise BadFrame(
            f"stream_resource of {data_key[:40]!r} names no template in its parameters; its files "
            "cannot be found"
        )
    uri = one_spelling(bounded(str(doc["uri"]), "URI"))
    if template is None:
        return Resource(uid, data_key, uri, dataset)
    names = read_template(str(template), str(parameters.get("filename") or ""))
    return Resource(uid, data_key, uri, dataset, names, _packing(parameters))


def one_spelling(uri: str) -> str:
    """Spell a local file as Tiled does, so that one file told by both is not taken for two."""
    return f"file://localhost/{uri[8:]}" if uri.startswith("file:///") else uri


def _dataset(parameters: Mapping[str, object], data_key: str) -> str:
    # `path` is how it was called before event-model 1.20.
    dataset = parameters.get("dataset", parameters.get("path"))
    if not isinstance(dataset, str) or not dataset:
        raise BadFrame(
            f"stream_resource of {data_key[:40]!r} names no dataset in its parameters; its frames "
            "cannot be found"
        )
    if parameters.get("slice"):
        raise BadFrame(
            f"stream_resource of {data_key[:40]!r} takes a slice of its dataset, which is not read"
        )
    return bounded(dataset, "dataset")


def _packing(parameters: Mapping[str, object]) -> Packing:
    files, chunk = parameters.get("files_per_datum"), parameters.get("chunk_shape")
    sizes = cast("list[object]", chunk) if isinstance(chunk, (list, tuple)) else []
    usable = all(type(size) is int and size > 0 for size in sizes)
    return Packing(
        chunk=tuple(cast("list[int]", sizes)) if usable else (),
        files_per_event=files if type(files) is int and files > 0 else 0,
        concatenated=parameters.get("join_method") == "concat" and usable and bool(sizes),
        single=bool(parameters.get("multiplier") or parameters.get("frame_per_point")),
    )
