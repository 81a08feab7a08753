"""The three ways in which work can fail. Every room raises one of these and nothing wider."""


class QdError(Exception):
    """Base of the errors that a user may see: one line, what is wrong, where, what to do."""


class BadFrame(QdError):  # noqa: N818 - the name says what it is, not that it is an error
    """This frame (or pattern, or document) cannot be used; set it aside and go on."""


class SaidBefore(BadFrame):
    """Refused for a reason that was explained a moment ago: count it, and do not say it again."""


class Lacking(BadFrame):
    """The frame itself is good, but not what it has to be corrected with.

    Attributes:
        flags: what is lacking, in the words of `Pattern.flags`.
    """

    def __init__(self, message: str, flags: tuple[str, ...]) -> None:
        super().__init__(message)
        self.flags = flags


class OutOfReach(BadFrame):
    """The frame lies where it may not be read from; another configuration may lead to it."""


class Unavailable(QdError):  # noqa: N818
    """Something around us is away for now (file not yet there, server down); try again later."""


class StorageAway(Unavailable):
    """The folder that holds all of a detector's files is away; no frame is to blame for it."""


class Fatal(QdError):  # noqa: N818
    """Going on makes no sense (model gone, configuration wrong, disk full); stop and say so."""


class Mistake(Fatal):
    """What the user gave (a configuration, an option) cannot be used; one line a mistake."""
