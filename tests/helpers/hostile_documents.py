"""Documents and bytes that mean harm, or that are merely wrong; one corpus for every level.

BODIES: (name, bytes) that no codec may accept. MESSAGES: (name, bytes) as they come over ZeroMQ.
DOCUMENTS: (name, (document name, document)) that decode well and that a router must refuse or
leave alone. URIS: (name, file URI) that no reader may open. SCANS: (name, bytes) as port scanners
send them. `hostile_files` makes files that no reader may follow.
"""

from __future__ import annotations

import json
import os
import pickle
import zlib
from pathlib import Path

import msgpack

MARK = "hostile-document-was-executed"
CANARY = "QD_CANARY"
"""Environment variable with the path of a file that exists once something was executed."""


class Executes:
    """Says so on standard output when it is unpickled, and writes the file named by CANARY."""

    def __reduce__(self):
        return (os.system, (f'echo {MARK}; test -z "${CANARY}" || touch "${CANARY}"',))


def _array(dtype: object, shape: object, data: bytes = b"", code: int = 42) -> bytes:
    payload = msgpack.packb((dtype, shape)) + data
    return msgpack.packb({"uid": "u", "image": msgpack.ExtType(code, payload)})


BODIES: list[tuple[str, bytes]] = [
    ("empty", b""),
    *((f"pickle protocol {p}", pickle.dumps(Executes(), protocol=p)) for p in range(6)),
    ("pickle by opcodes", b"cos\nsystem\n(S'true'\ntR."),
    ("object array", _array("|O", [1], b"\0" * 8)),
    ("structured array", _array([["a", "<i4"]], [1], b"\0" * 4)),
    ("structured dtype string", _array("i4,O", [1], b"\0" * 12)),
    ("void array", _array("|V8", [1], b"\0" * 8)),
    ("dates array", _array("<M8[ns]", [1], b"\0" * 8)),
    ("dtype that is no text", _array(7, [1], b"\0")),
    ("shape of 2^31 pixels", _array("<u2", [2**16, 2**15], b"\0" * 16)),
    ("shape that overflows 64 bits", _array("<u2", [2**31 - 1] * 8, b"")),
    ("shape with zero and giants", _array("<u2", [0, 2**62], b"")),
    ("negative shape", _array("<u2", [-1, -1], b"\0\0")),
    ("shape of booleans", _array("<u1", [True], b"\0")),
    ("shape of fractions", _array("<u1", [1.0], b"\0")),
    ("shape that is no list", _array("<u1", 1, b"\0")),
    ("too many dimensions", _array("<u1", [1] * 9, b"\0")),
    ("more bytes than the shape", _array("<u2", [1], b"\0" * 4)),
    ("text array that is no Unicode", _array("<U1", [1], b"\xff\xff\xff\x7f")),
    ("array without header", msgpack.packb({"a": msgpack.ExtType(42, b"")})),
    ("array with half a header", msgpack.packb({"a": msgpack.ExtType(42, b"\x92\xa3")})),
    ("unknown extension", _array("<u2", [1], b"\0\0", code=7)),
    ("timestamp extension", msgpack.packb({"a": msgpack.Timestamp(1, 2)})),
    ("broken timestamp extension", b"\x81\xa1a\xc7\x03\xff\0\0\0"),
    (
        "object array in the manner of msgpack_numpy",
        msgpack.packb(
            {"a": {b"nd": True, b"type": "O", b"shape": [1], b"data": pickle.dumps(Executes())}}
        ),
    ),
    ("list of 2^32 promised", b"\x81\xa1a\xdd\xff\xff\xff\xff"),
    ("map of 2^32 promised", b"\xdf\xff\xff\xff\xff"),
    ("text of 2^32 promised", b"\x81\xa1a\xdb\xff\xff\xff\xff"),
    ("extension of 2^32 promised", b"\x81\xa1a\xc9\xff\xff\xff\xff\x2a"),
    ("lists nested 500 deep", b"\x81\xa1a" + b"\x91" * 500 + b"\x01"),
    ("lists nested 100,000 deep", b"\x81\xa1a" + b"\x91" * 100_000 + b"\x01"),
    ("maps nested 100 deep", b"\x81\xa1a" * 100 + b"\x01"),
    ("JSON nested 100,000 deep", b'{"a":' * 100_000),
    ("JSON lists nested 100,000 deep", b'{"a":' + b"[" * 100_000),
    ("JSON cut short", b'{"a": 1'),
    ("JSON with a number of 5000 digits", b'{"a": ' + b"9" * 5000 + b"}"),
    ("JSON with half a surrogate", b'{"a": "\\ud800"}'),
    ("JSON with half a surrogate as key", b'{"\\ud800": 1}'),
    ("JSON in UTF-16", '{"a": 1}'.encode("utf-16-le")),
    ("JSON of two documents", b'{"a": 1}{"b": 2}'),
    ("text that is no UTF-8", b"\x81\xa1a\xa2\xff\xfe"),
    ("raw bytes as a value", msgpack.packb({"a": b"\0\1"})),
    ("raw bytes as a key", msgpack.packb({b"a": 1})),
    ("number as a key", msgpack.packb({1: 2})),
    ("a list", msgpack.packb([1, 2])),
    ("a text", msgpack.packb("start")),
    ("nothing", msgpack.packb(None)),
    ("two documents", msgpack.packb({}) + msgpack.packb({})),
    ("reserved byte", b"\xc1"),
    ("unknown compression (gzip)", b"\x1f\x8b\x08\0\0\0\0\0\0\3"),
    ("unknown compression (zstd)", b"\x28\xb5\x2f\xfd\0\0\0\0"),
    ("unknown compression (lz4)", b"\x04\x22\x4d\x18\x64\x40\xa7"),
    ("HTTP", b"GET / HTTP/1.1\r\nHost: beamline\r\n\r\n"),
    ("TLS hello", b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03"),
    ("SSH", b"SSH-2.0-OpenSSH_9.6\r\n"),
]

MESSAGES: list[tuple[str, bytes]] = [
    ("empty", b""),
    ("one space", b" "),
    ("two spaces", b"  "),
    ("no body", b" start "),
    ("no name", b"  " + msgpack.packb({"uid": "u"})),
    ("unknown name", b" exec " + msgpack.packb({"uid": "u"})),
    ("name that is no ASCII", b" st\xc3\xa4rt " + msgpack.packb({"uid": "u"})),
    ("bytes without spaces", bytes(range(33, 256))),
    *((f"start: {name}", b" start " + body) for name, body in BODIES),
]

_START = {"uid": "run-1", "time": 1.0}
_DETECTOR = {
    "source": "s",
    "dtype": "array",
    "shape": [1, 8, 6],
    "dtype_numpy": "<u4",
    "external": "STREAM:",
}
_DESCRIPTOR = {
    "uid": "desc-1",
    "run_start": "run-1",
    "time": 1.0,
    "name": "primary",
    "data_keys": {
        "det": _DETECTOR,
        "monitor": {"source": "s", "dtype": "number", "shape": []},
    },
}
_RESOURCE = {
    "uid": "res-1",
    "run_start": "run-1",
    "data_key": "det",
    "mimetype": "application/x-hdf5",
    "uri": "file://localhost/data/a.h5",
    "parameters": {"dataset": "/entry/data"},
}
_DATUM = {
    "uid": "res-1/0",
    "stream_resource": "res-1",
    "descriptor": "desc-1",
    "indices": {"start": 0, "stop": 1},
    "seq_nums": {"start": 1, "stop": 2},
}
_EVENT = {
    "uid": "event-1",
    "descriptor": "desc-1",
    "seq_num": 1,
    "time": 2.0,
    "data": {"monitor": 1.0},
    "timestamps": {"monitor": 2.0},
}
_STOP = {"uid": "stop-1", "run_start": "run-1", "time": 9.0, "exit_status": "success"}

HONEST: list[tuple[str, dict]] = [
    ("stream_datum", _DATUM),
    ("event", _EVENT),
    ("stop", {**_STOP, "num_events": {"primary": 1}}),
]
"""How that run goes on and ends."""

OPENING: list[tuple[str, dict]] = [
    ("start", _START),
    ("descriptor", _DESCRIPTOR),
    ("stream_resource", _RESOURCE),
]
"""An honest run, open and without frames, that the documents below speak about."""


def _without(doc: dict, key: str) -> dict:
    return {name: value for name, value in doc.items() if name != key}


def _deep(levels: int) -> object:
    value: object = 1
    for _ in range(levels):
        value = [value]
    return value


def _images(shape: list[int], **changes: object) -> dict:
    """A descriptor whose images travel inside the events."""
    key = {"source": "s", "dtype": "array", "shape": shape, "dtype_numpy": "<u4"}
    return {**_DESCRIPTOR, "uid": "d2", "data_keys": {"det": {**key, **changes}}}


_LONG = "x" * 10**6
_MANY = {str(n): 1.0 for n in range(20_000)}
_GIANT = {"start": 0, "stop": 2**31}
REFUSED: list[tuple[str, tuple[str, dict]]] = [
    *(
        (f"{name} without {key}", (name, _without(doc, key)))
        for name, doc, keys in (
            ("start", _START, ("uid", "time")),
            ("descriptor", _DESCRIPTOR, ("uid", "run_start", "time", "data_keys")),
            ("stream_resource", _RESOURCE, ("uid", "data_key", "mimetype", "uri", "parameters")),
            ("stream_datum", _DATUM, ("uid", "stream_resource", "descriptor", "indices")),
            ("event", _EVENT, ("uid", "descriptor", "seq_num", "time", "data")),
            ("stop", _STOP, ("uid", "run_start", "time", "exit_status")),
        )
        for key in keys
    ),
    ("start with a number as uid", ("start", {**_START, "uid": 7})),
    ("start with a list as uid", ("start", {**_START, "uid": ["run-2"]})),
    ("start with an empty uid", ("start", {**_START, "uid": ""})),
    ("start with a uid of a million letters", ("start", {**_START, "uid": "x" * 10**6})),
    ("start at no time", ("start", {**_START, "uid": "run-2", "time": float("nan")})),
    ("start at a time beyond floats", ("start", {**_START, "uid": "run-2", "time": 10**400})),
    ("start with a text as time", ("start", {**_START, "time": "noon"})),
    ("descriptor with a list of keys", ("descriptor", {**_DESCRIPTOR, "data_keys": []})),
    (
        "descriptor with a data key of a million letters",
        (
            "descriptor",
            {
                **_DESCRIPTOR,
                "uid": "d2",
                "data_keys": {"x" * 10**6: _DESCRIPTOR["data_keys"]["det"]},
            },
        ),
    ),
    (
        "descriptor with a text as shape",
        (
            "descriptor",
            {
                **_DESCRIPTOR,
                "uid": "d2",
                "data_keys": {"det": {"source": "s", "dtype": "array", "shape": "8 by 6"}},
            },
        ),
    ),
    ("descriptor of another run", ("descriptor", {**_DESCRIPTOR, "run_start": "run-7"})),
    (
        "descriptor of 2^31 images in each event",
        ("descriptor", {**_images([2**31, 8, 6]), "name": "primary"}),
    ),
    (
        "descriptor of 2^31 images in each event, in a file",
        ("descriptor", _images([2**31, 8, 6], external="STREAM:")),
    ),
    (
        "descriptor of 20,000 detectors",
        ("descriptor", {**_DESCRIPTOR, "uid": "d2", "data_keys": dict.fromkeys(_MANY, _DETECTOR)}),
    ),
    ("descriptor with a uid of a million letters", ("descriptor", {**_DESCRIPTOR, "uid": _LONG})),
    (
        "descriptor of a stream whose name is a million letters",
        ("descriptor", {**_DESCRIPTOR, "uid": "d2", "name": _LONG}),
    ),
    ("resource with a uid of a million letters", ("stream_resource", {**_RESOURCE, "uid": _LONG})),
    ("resource with a URI of a million letters", ("stream_resource", {**_RESOURCE, "uri": _LONG})),
    (
        "resource with a dataset of a million letters",
        ("stream_resource", {**_RESOURCE, "parameters": {"dataset": _LONG}}),
    ),
    ("start that forges a line of the log", ("start", {**_START, "uid": "x\nlevel=error"})),
    ("start that clears the terminal", ("start", {**_START, "uid": "\x1b[2J"})),
    ("start with NUL in its uid", ("start", {**_START, "uid": "run\0"})),
    ("event of 20,000 readings", ("event", {**_EVENT, "data": _MANY, "timestamps": _MANY})),
    (
        "page of 200,000 events",
        (
            "event_page",
            {
                "descriptor": "desc-1",
                "uid": ["e"] * 200_000,
                "seq_num": [1] * 200_000,
                "time": [1.0] * 200_000,
                "data": {},
                "timestamps": {},
            },
        ),
    ),
    ("resource in an unknown format", ("stream_resource", {**_RESOURCE, "mimetype": "image/png"})),
    ("resource without dataset", ("stream_resource", {**_RESOURCE, "parameters": {}})),
    (
        "resource with a number as dataset",
        ("stream_resource", {**_RESOURCE, "parameters": {"dataset": 3}}),
    ),
    ("resource with a number as URI", ("stream_resource", {**_RESOURCE, "uri": 3})),
    ("datum of 2^31 frames", ("stream_datum", {**_DATUM, "indices": _GIANT, "seq_nums": _GIANT})),
    (
        "datum of 2^31 frames, numbered from 1",
        (
            "stream_datum",
            {**_DATUM, "indices": _GIANT, "seq_nums": {"start": 1, "stop": 2**31 + 1}},
        ),
    ),
    (
        "datum beyond 64 bits",
        (
            "stream_datum",
            {
                **_DATUM,
                "indices": {"start": 2**80, "stop": 2**80 + 1},
                "seq_nums": {"start": 2**80, "stop": 2**80 + 1},
            },
        ),
    ),
    ("datum backwards", ("stream_datum", {**_DATUM, "indices": {"start": 5, "stop": 2}})),
    ("datum from -1", ("stream_datum", {**_DATUM, "indices": {"start": -1, "stop": 0}})),
    ("datum with seq_num 0", ("stream_datum", {**_DATUM, "seq_nums": {"start": 0, "stop": 1}})),
    (
        "datum with more indices than events",
        ("stream_datum", {**_DATUM, "indices": {"start": 0, "stop": 2}}),
    ),
    ("datum with texts", ("stream_datum", {**_DATUM, "indices": {"start": "0", "stop": "1"}})),
    ("event number 0", ("event", {**_EVENT, "seq_num": 0})),
    ("event number -1", ("event", {**_EVENT, "seq_num": -1})),
    ("event number 2^70", ("event", {**_EVENT, "seq_num": 2**70})),
    ("event number 1.5", ("event", {**_EVENT, "seq_num": 1.5})),
    ("event at no time", ("event", {**_EVENT, "time": float("inf")})),
    ("event with a list as data", ("event", {**_EVENT, "data": [1]})),
    (
        "page with columns of different lengths",
        (
            "event_page",
            {
                "descriptor": "desc-1",
                "uid": ["e1", "e2"],
                "seq_num": [1],
                "time": [1.0],
                "data": {"monitor": [1.0]},
                "timestamps": {"monitor": [1.0]},
            },
        ),
    ),
    (
        "page whose second event is number 0",
        (
            "event_page",
            {
                "descriptor": "desc-1",
                "uid": ["e1", "e2"],
                "seq_num": [1, 0],
                "time": [1.0, 2.0],
                "data": {"monitor": [1.0, 2.0]},
                "timestamps": {"monitor": [1.0, 2.0]},
            },
        ),
    ),
    ("stop with an unknown status", ("stop", {**_STOP, "exit_status": "exploded"})),
    ("stop with texts as counts", ("stop", {**_STOP, "num_events": {"primary": "three"}})),
]
"""Documents that a router in the state after OPENING must refuse with BadFrame."""

QUIET: list[tuple[str, tuple[str, dict]]] = [
    ("another beamline's datum", ("stream_datum", {**_DATUM, "descriptor": "theirs"})),
    ("another beamline's resource", ("stream_datum", {**_DATUM, "stream_resource": "theirs"})),
    ("another beamline's event", ("event", {**_EVENT, "descriptor": "theirs"})),
    ("a descriptor of 2^31 pixels", ("descriptor", _images([1, 2**16, 2**15]))),
    ("a descriptor of no pixels", ("descriptor", _images([0, 0]))),
    ("a descriptor of -1 pixels", ("descriptor", _images([-1, 6]))),
    (
        "another beamline's datum page",
        ("datum_page", {"resource": "theirs", "datum_id": ["a"], "datum_kwargs": {"frame": [0]}}),
    ),
    ("a document of a kind yet to come", ("hologram", {"uid": "u"})),
    ("a descriptor again", ("descriptor", _DESCRIPTOR)),
    ("a start again", ("start", _START)),
    (
        "an empty datum",
        (
            "stream_datum",
            {
                **_DATUM,
                "indices": {"start": 0, "stop": 0},
                "seq_nums": {"start": 1, "stop": 1},
            },
        ),
    ),
    ("a deep reading", ("event", {**_EVENT, "data": {"monitor": _deep(60)}})),
    ("a huge text as reading", ("event", {**_EVENT, "data": {"monitor": "x" * 10**6}})),
    ("a reading that is no number", ("event", {**_EVENT, "data": {"monitor": float("nan")}})),
    ("a reading beyond floats", ("event", {**_EVENT, "data": {"monitor": 10**400}})),
]
"""Documents after which a router in the state after OPENING has nothing to say."""

FOREIGN: list[tuple[str, tuple[str, dict]]] = [
    ("another beamline's start", ("start", {**_START, "uid": "theirs", "plan_name": "count"})),
    (
        "another beamline's detector",
        (
            "descriptor",
            {
                **_DESCRIPTOR,
                "uid": "their-desc",
                "run_start": "their-run",
                "name": "fluorescence",
                "data_keys": {"xspress3": _DETECTOR},
            },
        ),
    ),
    (
        "another beamline's file",
        (
            "stream_resource",
            {
                **_RESOURCE,
                "uid": "their-res",
                "run_start": "their-run",
                "data_key": "xspress3",
                "mimetype": "application/x-zarr",
            },
        ),
    ),
    ("another beamline's stop", ("stop", {**_STOP, "run_start": "their-run"})),
    ("a path as uid", ("start", {**_START, "uid": "../../../../etc/cron.d/qd"})),
    ("another key's name as uid", ("start", {**_START, "uid": "x:predictions"})),
]
"""Documents that open or close a run of their own, without any frame, and touch no other run."""

DOCUMENTS = REFUSED + QUIET + FOREIGN

SCANS: list[tuple[str, bytes]] = [
    ("nothing at all", b""),
    ("HTTP", b"GET / HTTP/1.1\r\nHost: beamline\r\n\r\n"),
    ("TLS hello", b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03" + bytes(500)),
    ("SSH", b"SSH-2.0-OpenSSH_9.6\r\n"),
    ("Redis", b"*1\r\n$4\r\nINFO\r\n"),
    ("SMB", b"\0\0\0\x85\xffSMBr" + bytes(120)),
    ("RDP", b"\x03\0\0\x13\x0e\xe0\0\0\0\0\0\x01\0\x08\0\x03\0\0\0"),
    ("all bytes", bytes(range(256)) * 16),
    ("zeros", bytes(4096)),
    ("half a greeting of ZeroMQ", b"\xff\0\0\0\0\0\0\0\x01\x7f\x03"),
    (
        "a greeting of ZeroMQ by another mechanism",
        b"\xff\0\0\0\0\0\0\0\x01\x7f\x03\0" + b"GSSAPI".ljust(20, b"\0") + b"\1" + bytes(31),
    ),
    (
        "a greeting of ZeroMQ, then a command of 2^63 bytes",
        b"\xff\0\0\0\0\0\0\0\x01\x7f\x03\0"
        + b"NULL".ljust(20, b"\0")
        + bytes(32)
        + b"\x06\x7f\xff\xff\xff\xff\xff\xff\xff",
    ),
    (
        "a greeting of ZeroMQ, then a document of 2^40 bytes",
        b"\xff\0\0\0\0\0\0\0\x01\x7f\x03\0"
        + b"NULL".ljust(20, b"\0")
        + bytes(32)
        + b"\x04\x19\x05READY\x0bSocket-Type\0\0\0\x03PUB"
        + b"\x02\0\0\x01\0\0\0\0\0",
    ),
]
"""What port scanners and other strangers send, and what answers instead of a publisher."""

URIS: list[tuple[str, str]] = [
    ("traversal", "file://localhost/ROOT/../../etc/passwd"),
    ("percent-encoded traversal", "file://localhost/ROOT/%2e%2e/%2e%2e/etc/passwd"),
    ("percent-encoded slashes", "file://localhost/ROOT%2f..%2f..%2fetc%2fpasswd"),
    ("twice percent-encoded traversal", "file://localhost/ROOT/%252e%252e/etc/passwd"),
    ("system file", "file:///etc/passwd"),
    ("process memory", "file:///proc/self/mem"),
    ("device", "file:///dev/zero"),
    ("remote host", "file://fileserver.example.org/ROOT/a.h5"),
    ("remote host with port", "file://localhost:80/ROOT/a.h5"),
    ("remote host with user", "file://root@localhost/ROOT/a.h5"),
    ("broken host", "file://[::1/ROOT/a.h5"),
    ("http", "http://localhost/ROOT/a.h5"),
    ("s3", "s3://bucket/a.h5"),
    ("no scheme", "/ROOT/a.h5"),
    ("relative", "file:a.h5"),
    ("relative with host", "file://localhost"),
    ("Windows drive", "file:///C:/data/a.h5"),
    ("Windows drive as host", "file://C:/data/a.h5"),
    ("Windows backslashes", "file:///C%3A%5Cdata%5Ca.h5"),
    ("Windows share", "file:////fileserver/share/a.h5"),
    ("NUL", "file://localhost/ROOT/a.h5%00.txt"),
    ("raw NUL", "file://localhost/ROOT/a.h5\0"),
    ("line break", "file://localhost/ROOT/a\n.h5"),
    ("no UTF-8", "file://localhost/ROOT/%ff%fe.h5"),
    ("half a surrogate", "file://localhost/ROOT/\ud800.h5"),
    ("query", "file://localhost/ROOT/a.h5?x=1"),
    ("fragment", "file://localhost/ROOT/a.h5#x"),
    ("too long", "file://localhost/ROOT/" + "a" * 10_000),
    ("name too long", "file://localhost/ROOT/" + "a" * 300),
    ("empty", ""),
    ("blank", " "),
]
"""URIs that no reader may open; ROOT stands for an allowed root without its leading slash."""


def as_message(name: str, doc: dict, prefix: bytes = b"") -> bytes:
    """A document as a careless publisher sends it: JSON over ZeroMQ."""
    return b" ".join([prefix, name.encode(), json.dumps(doc).encode()])


def hostile_files(root: Path) -> list[tuple[str, str, str]]:
    """Make files under `root` that no reader may follow; give (name, file, dataset) of each."""
    import h5py  # only where files are made
    import numpy as np

    made: list[tuple[str, str, str]] = []

    def new(name: str) -> h5py.File:
        path = root / f"{name.replace(' ', '_')}.h5"
        made.append((name, str(path), "data"))
        return h5py.File(path, "w")

    frames = np.ones((4, 8, 6), "<u4")
    with new("objects") as file:
        file.create_dataset("data", (4, 8, 6), dtype=h5py.string_dtype())
    with new("compounds") as file:
        file.create_dataset("data", (4, 8, 6), dtype=[("a", "<u4"), ("b", "<f8")])
    with new("external link") as file:
        file["data"] = h5py.ExternalLink("/etc/passwd", "/")
    with new("loop of links") as file:
        file["data"] = h5py.SoftLink("/again")
        file["again"] = h5py.SoftLink("/data")
    with new("raw file outside") as file:
        file.create_dataset("data", (4, 8, 6), "<u4", external=[("/etc/passwd", 0, 4 * 8 * 6 * 4)])
    with new("virtual source outside") as file:
        layout = h5py.VirtualLayout((4, 8, 6), "<u4")
        layout[:] = h5py.VirtualSource("/etc/passwd", "data", (4, 8, 6))
        file.create_virtual_dataset("data", layout)
    with new("2^40 pixels") as file:
        file.create_dataset("data", (4, 2**20, 2**20), "<u4", chunks=(1, 64, 64))
    with new("a chunk that inflates to a gigabyte") as file:
        data = file.create_dataset("data", (4, 8, 6), "<u4", chunks=(1, 8, 6), compression="gzip")
        squeeze = zlib.compressobj(9)
        bomb = b"".join(squeeze.compress(bytes(2**20)) for _ in range(1024)) + squeeze.flush()
        for row in range(4):
            data.id.write_direct_chunk((row, 0, 0), bomb)
    with new("a group in its place") as file:
        file.create_group("data")
    good = root / "really_good.h5"
    with h5py.File(good, "w") as file:
        file["data"] = frames
    cut = root / "cut_short.h5"
    cut.write_bytes(good.read_bytes()[:1000])
    made.append(("cut short", str(cut), "data"))
    (root / "passwd.h5").symlink_to("/etc/passwd")
    made.append(("symbolic link outside", str(root / "passwd.h5"), "data"))
    os.mkfifo(root / "pipe.h5")
    made.append(("pipe", str(root / "pipe.h5"), "data"))
    made.append(("folder", str(root), "data"))
    return made
