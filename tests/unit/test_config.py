"""The configuration: every mistake by its line, relative paths by the file, secrets never shown."""

from pathlib import Path

import pytest

from qd_agent.config import load_config
from qd_agent.core.errors import Mistake

EXAMPLES = sorted((Path(__file__).parents[2] / "deploy" / "examples").glob("*.yaml"))


def written(folder: Path, text: str) -> Path:
    path = folder / "agent.yaml"
    path.write_text(text)
    return path


def mistakes(folder: Path, text: str) -> list[str]:
    with pytest.raises(Mistake) as caught:
        load_config(written(folder, text))
    return str(caught.value).splitlines()


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_every_example_is_valid(path: Path):
    assert load_config(path).reduction.poni.is_absolute()


def test_there_are_examples():
    assert EXAMPLES


def test_relative_paths_are_relative_to_the_file(tmp_path: Path):
    text = (
        "data: books\nreduction: {poni: a.poni, mask: /m.npy}\nframes: {allowed_roots: [x, /y]}\n"
    )
    config = load_config(written(tmp_path, text))
    assert config.reduction.poni == tmp_path / "a.poni"
    assert config.reduction.mask == Path("/m.npy")
    assert config.data == tmp_path / "books"
    assert config.frames.allowed_roots == [tmp_path / "x", Path("/y")]


def test_an_unknown_key_is_named_with_its_line_and_what_is_allowed(tmp_path: Path):
    (line,) = mistakes(tmp_path, "reduction:\n  poni: a.poni\n  pony: b.poni\n")
    assert line.startswith(f"{tmp_path / 'agent.yaml'}:3: reduction.pony: unknown key; allowed")
    assert "polarization_factor" in line


def test_a_value_that_is_not_allowed_is_named_with_what_is(tmp_path: Path):
    (line,) = mistakes(tmp_path, "reduction:\n  poni: a.poni\n  orientation: upside_down\n")
    assert ":3: reduction.orientation:" in line
    assert "'flip_rows'" in line
    assert "found 'upside_down'" in line


def test_every_mistake_is_named_at_once(tmp_path: Path):
    text = "agnt: x\nsource:\n  kind: carrier pigeon\nlog_level: loud\n"
    found = mistakes(tmp_path, text)
    assert len(found) == 4
    assert any(":1: agnt: unknown key" in line for line in found)
    assert any(":3: source.kind:" in line for line in found)
    assert any(":4: log_level:" in line for line in found)
    assert any("reduction: missing" in line for line in found)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "reduction: missing"),
        ("- a\n- b\n", "expected `key: value` lines"),
        ("just words", "expected `key: value` lines"),
        ("a: [1,\n", "not valid YAML"),
        ("a: 1\na: 2\n", "not valid YAML"),
        ("!!python/object/apply:os.system ['true']\n", ""),
    ],
)
def test_what_is_no_configuration_is_said_in_one_line(tmp_path: Path, text: str, expected: str):
    (line,) = mistakes(tmp_path, text)
    assert expected in line


def test_a_file_that_is_absent_or_binary_is_said_in_one_line(tmp_path: Path):
    with pytest.raises(Mistake, match="No such file"):
        load_config(tmp_path / "absent.yaml")
    path = tmp_path / "binary.yaml"
    path.write_bytes(b"\xff\xfe\x00\x81")
    with pytest.raises(Mistake, match="not text"):
        load_config(path)


def test_a_secret_in_a_wrong_url_is_not_shown(tmp_path: Path):
    text = "reduction: {poni: a.poni}\nredis: {url: 'http://u:hunter2@h'}\ntiled: {uri: 'ftp://k:hunter2@h'}\n"
    found = mistakes(tmp_path, text)
    assert len(found) == 2
    assert "hunter2" not in "".join(found)


def test_the_hash_changes_with_what_a_number_depends_on_and_with_nothing_else(tmp_path: Path):
    def hashed(text: str) -> str:
        return load_config(written(tmp_path, text)).numbers_hash()

    base = hashed("reduction: {poni: a.poni}\n")
    assert hashed("agent_id: other\nlog_level: debug\nreduction: {poni: a.poni}\n") == base
    assert hashed("reduction: {poni: a.poni, polarization_factor: 0.5}\n") != base


def test_merged_and_tagged_values_give_a_line_and_no_traceback(tmp_path: Path):
    base = "base: &b {poni: a.poni}\nreduction:\n  <<: *b\n  pony: 1\n"
    found = mistakes(tmp_path, base)
    assert any("base: unknown key" in line for line in found)
    assert any(":4: reduction.pony: unknown key" in line for line in found)
    assert mistakes(tmp_path, "reduction: !!python/object/apply:os.system [ls]\n")


def test_no_value_under_redis_or_tiled_is_ever_shown(tmp_path: Path):
    text = "reduction: {poni: a}\nredis: redis://:hunter2@h\ntiled: {api_key_env: hunter2-!}\n"
    assert "hunter2" not in "".join(mistakes(tmp_path, text))


def test_a_home_folder_is_expanded_in_lists_too(tmp_path: Path):
    text = "reduction: {poni: a}\nframes: {allowed_roots: [~/data]}\n"
    config = load_config(written(tmp_path, text))
    assert config.frames.allowed_roots == [Path("~/data").expanduser()]


def test_a_stream_is_either_sized_or_dark(tmp_path: Path):
    (line,) = mistakes(tmp_path, "reduction: {poni: a}\nrouter: {dark_streams: [primary]}\n")
    assert "cannot be both" in line


SOURCES = """
reduction: {poni: a}
source:
  - address: tcp://127.0.0.1:5578
  - address: tcp://127.0.0.1:5579
    curve_server_key: a.key
    curve_secret_key: b.key_secret
"""


def test_one_source_may_be_given_alone_and_several_in_a_list(tmp_path: Path):
    (alone,) = load_config(
        written(tmp_path, "reduction: {poni: a}\nsource: {address: 'tcp://h:1'}\n")
    ).source
    assert alone.address == "tcp://h:1"
    assert len(load_config(written(tmp_path, "reduction: {poni: a}\n")).source) == 1
    first, second = load_config(written(tmp_path, SOURCES)).source
    assert (first.shown, second.shown) == ("tcp://127.0.0.1:5578", "tcp://127.0.0.1:5579")
    assert second.curve_server_key == tmp_path / "a.key"


def test_a_mistake_in_a_source_is_named_by_its_line_in_a_list_too(tmp_path: Path):
    (alone,) = mistakes(tmp_path, "reduction: {poni: a}\nsource:\n  adress: x\n")
    assert ":3: source.adress: unknown key; allowed here: address, " in alone
    (listed,) = mistakes(tmp_path, SOURCES + "  - adress: x\n")
    assert ":8: source.2.adress: unknown key; allowed here: address, " in listed
    (twice,) = mistakes(tmp_path, SOURCES + "  - address: tcp://127.0.0.1:5578\n")
    assert "tcp://127.0.0.1:5578 is named twice" in twice
    (none,) = mistakes(tmp_path, "reduction: {poni: a}\nsource: []\n")
    assert ":2: source:" in none
