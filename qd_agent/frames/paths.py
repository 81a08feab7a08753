"""From a file URI in a document to a path that may be read on this machine."""

from __future__ import annotations

import errno
import os
import posixpath
import re
import stat
from pathlib import Path
from urllib.parse import unquote, urlsplit

from qd_agent.core.errors import BadFrame, OutOfReach, Unavailable
from qd_agent.frames.settings import FrameSettings

MAX_URI = 4096
"""Longest path that Linux opens (PATH_MAX)."""

_STORAGE_AWAY = frozenset(
    {
        errno.EIO,
        errno.ESTALE,
        errno.ENOTCONN,
        errno.ETIMEDOUT,
        errno.EHOSTDOWN,
        errno.EHOSTUNREACH,
        errno.ENETUNREACH,
        errno.ECONNABORTED,
        errno.ENODEV,
        errno.ENXIO,
        errno.EREMOTEIO,
    }
)
"""What the system says of a disk or file server that does not answer, and may again."""

_DRIVE = re.compile(r"/?[A-Za-z]:")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def resolve(uri: str, settings: FrameSettings) -> Path:
    """Give the real path of a `file:` URI, once it is certain that it may be read.

    Percent codes are decoded once, the path map is applied, and `..` and symbolic links are
    followed before the path is compared with the allowed roots.

    Raises:
        BadFrame: not a local file URI, outside of every allowed root, or no regular file.
        Unavailable: nothing is there (yet), or the storage does not answer.
    """
    return allowed_path(_path_of(uri), settings)


def mapped_path(uri: str, settings: FrameSettings) -> Path:
    """Give the path of a `file:` URI on this machine, by its names alone; it may not be there.

    Raises:
        BadFrame: not a local file URI.
    """
    return Path(_map(posixpath.normpath(_path_of(uri)), settings.path_map))


def allowed_path(path: str, settings: FrameSettings, base: Path | None = None) -> Path:
    """Give the real path of `path` as a document or a detector file names it, once it may be read.

    Args:
        path: absolute, or relative to `base`.
        settings: the path map and the allowed roots.
        base: folder of the file that names it; None when only absolute paths will do.

    Raises:
        BadFrame: outside of every allowed root, or no regular file.
        Unavailable: nothing is there (yet), or the storage does not answer.
    """
    if not settings.allowed_roots:
        raise OutOfReach(
            f"file {_shown(path)} may not be read: frames.allowed_roots is empty; name the folder "
            "that holds the detector's files"
        )
    if _CONTROL.search(path) or len(path) > MAX_URI:
        raise BadFrame(f"path {_shown(path)} is too long or holds control characters")
    if not path.startswith("/"):
        if base is None:
            raise BadFrame(f"path {_shown(path)} is not absolute")
        path = posixpath.join(str(base), path)
    mapped = _map(posixpath.normpath("/" + path.lstrip("/")), settings.path_map)
    real, mode = _look_up(Path(mapped), settings)
    if not stat.S_ISREG(mode):
        raise BadFrame(f"{_shown(str(real))} is not a regular file")
    if not os.access(real, os.R_OK):
        raise BadFrame(f"file {_shown(str(real))} may not be read by this user; check its mode")
    return real


def _look_up(path: Path, settings: FrameSettings) -> tuple[Path, int]:
    """Give the real path, which lies under an allowed root, and its mode."""
    try:
        real = path.resolve()
        roots = [root.resolve() for root in settings.allowed_roots]
        if not any(real.is_relative_to(root) for root in roots):
            allowed = ", ".join(str(root) for root in settings.allowed_roots)
            raise OutOfReach(
                f"file {_shown(str(path))} lies outside of frames.allowed_roots ({allowed})"
            )
        return real, real.stat().st_mode
    except FileNotFoundError as error:
        raise Unavailable(f"file {_shown(str(path))} does not exist") from error
    except OSError as error:
        kind = Unavailable if error.errno in _STORAGE_AWAY else BadFrame
        raise kind(f"file {_shown(str(path))} cannot be reached: {error.strerror}") from error
    except RuntimeError as error:
        text = f"file {_shown(str(path))} cannot be reached: its links form a loop"
        raise BadFrame(text) from error
    except ValueError as error:  # half a surrogate
        raise BadFrame(f"path {_shown(str(path))} holds characters no file name can") from error


def _path_of(uri: str) -> str:
    """Give the decoded path of a local file URI."""
    if len(uri) > MAX_URI or _CONTROL.search(uri):
        raise BadFrame(f"URI {_shown(uri)} is too long or holds control characters")
    try:
        parts = urlsplit(uri)
        path = unquote(parts.path, errors="strict")
    except ValueError as error:  # a malformed host, or percent codes that are not UTF-8
        raise BadFrame(f"URI {_shown(uri)} is malformed: {error}") from error
    if parts.scheme != "file":
        raise BadFrame(f"URI {_shown(uri)} is not a file: URI; other files cannot be read")
    if parts.query or parts.fragment:
        raise BadFrame(f"URI {_shown(uri)} has a query or a fragment; write ? as %3F and # as %23")
    if _DRIVE.match(path) or "\\" in path or _DRIVE.match(parts.netloc):
        raise BadFrame(f"URI {_shown(uri)} is a Windows path; map it to a path of this machine")
    if parts.netloc not in {"", "localhost"}:
        raise BadFrame(f"URI {_shown(uri)} names the host {_shown(parts.netloc)}, not localhost")
    if not path.startswith("/"):
        raise BadFrame(f"URI {_shown(uri)} has no absolute path")
    return path


def _map(path: str, path_map: dict[str, str]) -> str:
    """Replace the longest prefix of whole folder names that the map knows."""
    for prefix in sorted(path_map, key=len, reverse=True):
        old = posixpath.normpath(prefix)
        if path == old or path.startswith(old.rstrip("/") + "/"):
            rest = path[len(old) :].lstrip("/")
            return posixpath.join(path_map[prefix], rest) if rest else path_map[prefix]
    return path


def _shown(text: str) -> str:
    return ascii(text if len(text) <= 200 else text[:197] + "...")
