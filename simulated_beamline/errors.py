"""The one error of the simulated beamline."""


class BeamlineError(Exception):
    """Wrong input or settings, in one line: what is wrong, where, what to do."""
