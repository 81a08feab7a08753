"""Documents and bytes that mean harm, or that are merely wrong; one corpus for every level.

BODIES: (name, bytes) that no codec may accept. MESSAGES: (name, bytes) as they come over ZeroMQ.
DOCUMENTS: (name, (document name, document)) that decode well and that a router must refuse or
leave alone. URIS: (name, file URI) that no reader may open.
"""

from __future__ import annotations

import json
import pickle

import msgpack

MARK = "hostile-document-was-executed"


class Executes:
    """Says so on standard output when it is unpickled."""

    def __reduce__(self):
        return (print, (MARK,))


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
    (
        "legacy resource",
        (
            "resource",
            {
                "uid": "r",
                "run_start": "run-1",
                "spec": "AD_HDF5",
                "root": "/",
                "resource_path": "a",
                "resource_kwargs": {},
                "path_semantics": "posix",
            },
        ),
    ),
]
"""Documents that a router in the state after OPENING must refuse with BadFrame."""

QUIET: list[tuple[str, tuple[str, dict]]] = [
    ("another beamline's datum", ("stream_datum", {**_DATUM, "descriptor": "theirs"})),
    ("another beamline's resource", ("stream_datum", {**_DATUM, "stream_resource": "theirs"})),
    ("another beamline's event", ("event", {**_EVENT, "descriptor": "theirs"})),
    ("another beamline's datum page", ("datum_page", {"resource": "theirs"})),
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

DOCUMENTS = REFUSED + QUIET

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
