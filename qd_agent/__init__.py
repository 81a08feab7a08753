"""Live sizing of PbS quantum dots from the documents of a Bluesky RunEngine."""

__version__ = "0.1.0"
