"""Opens HDF5 files for reading while they are written, without ever waiting for long."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

import h5py
import h5py.h5f
import h5py.h5p
from h5py._objects import phil

from qd_agent.core.errors import Unavailable

SIGNATURE = b"\x89HDF\r\n\x1a\n"
SIGNATURE_OFFSETS = (0, 512, 1024, 2048, 4096, 8192)
"""Where the HDF5 format lets the superblock begin (after a user block of 512 · 2^n bytes)."""
FLAGS_AT = 11
SWMR_FLAG = 0x04
READ_ATTEMPTS = 12
"""Tries of HDF5 to read a piece of metadata whose checksum is wrong, in a file being written.

It waits 1 ns, 2 ns, 4 ns ... between them. Its own default, 100 tries, waits for ever on a file
that a crashed writer left damaged; 12 take 4 µs, and the
reader tries again by itself.
"""


def is_live(path: Path) -> bool:
    """Tell whether a writer has the file open with SWMR (or crashed while it had).

    Read from the superblock's file consistency flags, without locking the file: HDF5 file format
    specification, section II.A, superblock versions 2 and 3.

    Raises:
        Unavailable: it does not begin like HDF5 (yet).
    """
    with path.open("rb") as file:
        for offset in SIGNATURE_OFFSETS:
            file.seek(offset, os.SEEK_SET)
            start = file.read(FLAGS_AT + 1)
            if start.startswith(SIGNATURE) and len(start) > FLAGS_AT:
                return start[len(SIGNATURE)] >= 2 and bool(start[FLAGS_AT] & SWMR_FLAG)
    raise Unavailable(f"{path} is no HDF5 file (yet)")


def open_live(path: Path) -> h5py.File:
    """Open a file that another process is writing with SWMR.

    Raises:
        OSError: damaged, or no HDF5.
    """
    access = h5py.h5p.create(h5py.h5p.FILE_ACCESS)
    access.set_fclose_degree(h5py.h5f.CLOSE_STRONG)
    access.set_libver_bounds(h5py.h5f.LIBVER_LATEST, h5py.h5f.LIBVER_LATEST)
    _limit_read_attempts(access.id)
    flags = h5py.h5f.ACC_RDONLY | h5py.h5f.ACC_SWMR_READ
    return h5py.File(h5py.h5f.open(os.fsencode(path), flags, access))


def open_closed(path: Path) -> h5py.File:
    """Open a file that nobody is writing; it is locked against writers until it is closed.

    Raises:
        OSError: being written, truncated, or no HDF5.
        Unavailable: it does not begin like HDF5 (yet).
    """
    # A lock on a file that its writer has just created, but not locked yet, would make the
    # writer fail. Once the signature is there, the writer has its lock.
    is_live(path)
    return h5py.File(path, "r")


def _limit_read_attempts(access: int) -> None:
    """Call H5Pset_metadata_read_attempts, which h5py does not wrap."""
    # The symbol is looked up in the library that h5py itself is linked to.
    library = ctypes.CDLL(h5py.h5p.__file__)
    call = library.H5Pset_metadata_read_attempts
    call.argtypes = [ctypes.c_int64, ctypes.c_uint]
    with phil:
        if call(access, READ_ATTEMPTS) < 0:
            raise OSError("HDF5 takes no limit for reading attempts")
