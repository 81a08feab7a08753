"""The script that gives CI a browser: what it does on machines that have none, and what it says."""

import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / ".ci" / "chromium"
TOOLS = ("bash", "env", "grep", "mktemp", "rm", "tail", "timeout")


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """The programs of a machine: small tools, and a root user."""
    for tool in TOOLS:
        found = shutil.which(tool)
        assert found is not None
        (tmp_path / tool).symlink_to(found)
    program(tmp_path, "id", 'if [ "$1" = -u ]; then echo 0; else echo root; fi')
    return tmp_path


def program(machine: Path, name: str, script: str) -> None:
    """Put a program on a machine."""
    (machine / name).write_text(f"#!{machine}/bash\n{script}\n")
    (machine / name).chmod(0o755)


def run(machine: Path) -> tuple[str, str]:
    """Run the script there; it never fails: what needs no browser is tested all the same."""
    done = subprocess.run(
        [SCRIPT], check=False, env={"PATH": str(machine)}, capture_output=True, text=True
    )
    assert done.returncode == 0
    return done.stdout, done.stderr


def test_a_browser_that_is_there_is_taken(machine: Path):
    program(machine, "chromium", "exit 9")
    assert run(machine) == ("", "")


def test_debians_is_installed_where_there_is_none(machine: Path):
    asked = machine / "asked"
    begins = f"echo '#!{machine}/bash\necho Chromium 156' > {machine}/chromium-headless-shell"
    chmod = shutil.which("chmod")
    installs = f'{begins}; {chmod} +x {machine}/chromium-headless-shell; echo "$@" >> {asked}'
    program(machine, "apt-get", installs)
    said, complaints = run(machine)
    assert said.splitlines()[-1] == "Installed Chromium 156."
    assert complaints == ""
    update, install = asked.read_text().splitlines()
    assert update.endswith("update")
    assert install.endswith("--no-install-recommends chromium-headless-shell fonts-dejavu-core")


@pytest.mark.parametrize(
    ("name", "script", "reason"),
    [
        (
            "id",
            'if [ "$1" = -u ]; then echo 7; else echo lp; fi',
            "takes root, and this is user lp",
        ),
        ("other", "", "there is no apt-get on this machine"),
        (
            "apt-get",
            "echo W: old; echo E: no network; echo more; exit 100",
            "failed: E: no network",
        ),
        ("apt-get", "exit 0", "it does not start"),
    ],
)
def test_it_says_why_it_cannot(machine: Path, name: str, script: str, reason: str):
    program(machine, name, script)
    _, complaints = run(machine)
    assert reason in complaints
    assert "will skip" in complaints
