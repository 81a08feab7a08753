"""The code and the configurations that a page of the documentation tells its reader to use."""

import re
import textwrap
from pathlib import Path

import yaml

from qd_agent.config import Config, load_config

DOCS = Path(__file__).resolve().parents[2] / "docs"


def blocks(page: str, language: str) -> list[str]:
    """Give the blocks in a language, in order, without the indentation of the list around them."""
    pattern = rf"^( *)```{language}\n(.*?)^ *```"
    found = re.findall(pattern, (DOCS / page).read_text(), flags=re.DOTALL | re.MULTILINE)
    return [textwrap.dedent(block) for _, block in found]


def config_of(block: str, folder: Path, **changes: object) -> Config:
    """Read a configuration as the agent does; what a page leaves out is given here."""
    path = folder / "agent.yaml"
    tree = {"reduction": {"poni": "detector.poni"}, **yaml.safe_load(block), **changes}
    path.write_text(yaml.safe_dump(tree))
    return load_config(path)
