"""The forms in which the detector hands its frames over, as real detectors do."""

from __future__ import annotations

from enum import StrEnum


class FramesAs(StrEnum):
    """How frames are stored and announced; see `qd-beamline growth --help`."""

    HDF5 = "hdf5"
    HDF5_CLOSED = "hdf5-closed"
    HDF5_LZ4 = "hdf5-lz4"
    HDF5_BITSHUFFLE = "hdf5-bitshuffle"
    HDF5_ZSTD = "hdf5-zstd"
    HDF5_BLOSC = "hdf5-blosc"
    TIFF = "tiff"
    LEGACY_HDF5 = "legacy-hdf5"
    LEGACY_TIFF = "legacy-tiff"
    INLINE = "inline"
    FLY = "fly"
    STRIP = "strip"

    @property
    def is_plain(self) -> bool:
        """Whether its frames come with events (inside, or by a datum), not in a stream."""
        return self in {FramesAs.LEGACY_HDF5, FramesAs.LEGACY_TIFF, FramesAs.INLINE}

    @property
    def is_tiff(self) -> bool:
        """Whether each frame is a TIFF file of its own."""
        return self in {FramesAs.TIFF, FramesAs.LEGACY_TIFF}


HELP = (
    "How frames are stored: hdf5 (SWMR, deflate), hdf5-closed (readable only once the stream has "
    "ended), hdf5-lz4, -bitshuffle, -zstd, -blosc (SWMR), tiff (a file a frame), legacy-hdf5 and "
    "legacy-tiff (resource and datum documents), inline (inside the events), fly (hdf5; no events, "
    "many frames a stream_datum), strip (a one-dimensional detector; its axis in two_theta.npy)."
)
