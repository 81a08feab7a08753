"""Names of numbered files, as documents spell them: `cam_{:06d}.tiff`, or `%s%s_%6.6d.tiff`.

A template comes from outside. Python's own formatting reads attributes of what it is given
(`{0.__class__}`) and fills gigabytes (`{:9999999999d}`), so only what a file's number needs is
understood here, and nothing that a name is made of may lead out of its folder.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import quote

from qd_agent.core.errors import BadFrame
from qd_agent.documents.schema import bounded

MAX_WIDTH = 32
"""Most digits that a template may ask for."""

_BRACES = re.compile(r"\{0?(?::(?P<zero>0?)(?P<width>\d{0,4})d?)?\}")
_PERCENT = re.compile(r"%(?P<zero>0?)(?P<width>\d{0,4})(?:\.(?P<digits>\d{1,4}))?d")


@dataclass(frozen=True, slots=True)
class FileTemplate:
    """The names of a sequence of files: `before`, the file's number, `after`.

    Attributes:
        before: what comes before the number; may begin with '/' and name folders.
        after: what follows it.
        width: least length of the number.
        fill: what it is filled up with, '0' or ' '.
    """

    before: str
    after: str
    width: int = 0
    fill: str = "0"

    def name(self, number: int) -> str:
        """Give the name of the file with this number."""
        return f"{self.before}{str(number).rjust(self.width, self.fill)}{self.after}"

    def uri(self, folder: str, number: int) -> str:
        """Give the file's URI: `folder` and name, as they stand; one '/' where both have one."""
        name = quote(self.name(number))
        return folder + (name.lstrip("/") if folder.endswith("/") else name)


def read_template(template: str, filename: str = "") -> FileTemplate:
    """Read a template of either style.

    Args:
        template: such as '{:06d}.tiff' or '%s%s_%6.6d.tiff'; of the latter's '%s', the first
            stands for the folder where there are two.
        filename: takes the place of the other '%s', and of '{filename}'.

    Raises:
        BadFrame: no number in it or more than one, a format that no file's number needs, or a
            name that would lead elsewhere.
    """
    bounded(template, "template")
    bounded(filename, "filename")
    if "%s" in template:
        # areaDetector's: folder, name, number. Where only one is there, it is the name.
        template = template.replace("%s", "", template.count("%s") - 1)
    text = template.replace("%s", "\0", 1).replace("{filename}", "\0", 1)
    found = list(_BRACES.finditer(text)) or list(_PERCENT.finditer(text))
    if len(found) != 1:
        raise BadFrame(
            f"template {_shown(template)} has {len(found)} places for the number of a file, not "
            "one such as {:06d} or %6.6d"
        )
    place = found[0]
    parts = [text[: place.start()], text[place.end() :]]
    if any(c in part for part in parts for c in "{}%"):
        raise BadFrame(f"template {_shown(template)} holds more than the number of a file")
    before, after = (part.replace("\0", filename) for part in parts)
    _check_name(before, after, template)
    width = max(int(place["width"] or 0), int(place.groupdict().get("digits") or 0))
    if width > MAX_WIDTH:
        raise BadFrame(f"template {_shown(template)} asks for {width} digits")
    padded = place["zero"] or place.groupdict().get("digits")
    return FileTemplate(before, after, width, "0" if padded else " ")


def _check_name(before: str, after: str, template: str) -> None:
    name = f"{before}0{after}"
    if ".." in name.split("/") or "\\" in name or not name.isprintable():
        raise BadFrame(f"template {_shown(template)} names files that lie elsewhere")


def _shown(text: str) -> str:
    return ascii(text if len(text) <= 80 else text[:77] + "...")
