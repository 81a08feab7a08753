"""Key files: made with the right modes, read with a clear line for everything that is wrong."""

from pathlib import Path

import pytest
import zmq
from pydantic import ValidationError

from qd_agent.core.errors import Mistake
from qd_agent.documents import ZmqSettings
from qd_agent.documents.curve import make_keys, read_keys


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    folder = tmp_path / "keys"
    make_keys(folder)
    return folder


def refusal(server_key: Path, secret_key: Path) -> str:
    with pytest.raises(Mistake) as caught:
        read_keys(server_key, secret_key)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_keys_that_were_made_can_be_read_and_belong_together(keys: Path):
    found = read_keys(keys / "publisher.key", keys / "agent.key_secret")
    assert zmq.curve_public(found.secret) == found.public
    assert found.server != found.public
    assert found.secret.decode() not in repr(found)


def test_secret_keys_are_for_their_owner_alone(keys: Path):
    modes = {path.name: path.stat().st_mode & 0o777 for path in keys.iterdir() if path.is_file()}
    assert modes == {
        "agent.key": 0o644,
        "agent.key_secret": 0o600,
        "publisher.key": 0o644,
        "publisher.key_secret": 0o600,
    }
    assert (keys / "clients" / "agent.key").read_text() == (keys / "agent.key").read_text()


def test_keys_are_never_overwritten(keys: Path):
    before = (keys / "agent.key_secret").read_text()
    with pytest.raises(Mistake, match="never overwritten"):
        make_keys(keys)
    assert (keys / "agent.key_secret").read_text() == before


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(Mistake, match="file/keys: keys cannot be written"):
        make_keys(tmp_path / "file" / "keys")


@pytest.mark.parametrize("mode", [0o644, 0o604, 0o602, 0o666, 0o777])
def test_a_secret_key_that_others_may_read_is_refused(keys: Path, mode: int):
    secret = keys / "agent.key_secret"
    secret.chmod(mode)
    line = refusal(keys / "publisher.key", secret)
    assert f"mode {mode:04o}" in line
    assert f"chmod 600 {secret}" in line


def test_a_group_of_its_own_may_read_it(keys: Path):
    (keys / "agent.key_secret").chmod(0o640)
    read_keys(keys / "publisher.key", keys / "agent.key_secret")


BROKEN = {
    "empty": "",
    "something else": "-----BEGIN CERTIFICATE-----\nMIIB\n",
    "a key too short": 'curve\n    public-key = "abc"\n',
    "a key of other letters": 'curve\n    public-key = "' + "~" * 40 + '"\n',
    "a key beyond 32 bits": 'curve\n    public-key = "' + "#" * 40 + '"\n',
    "a key that is no ASCII": 'curve\n    public-key = "' + "ä" * 40 + '"\n',
}


@pytest.mark.parametrize("content", BROKEN.values(), ids=BROKEN)
def test_a_garbled_file_is_named_with_its_setting_and_the_remedy(keys: Path, content: str):
    path = keys / "broken.key"
    path.write_text(content)
    path.chmod(0o600)
    for line in (
        refusal(path, keys / "agent.key_secret"),
        refusal(keys / "publisher.key", path),
    ):
        assert str(path) in line
        assert "source.curve_" in line
        assert "qd-agent keys DIR" in line or "give the .key_secret file" in line


def test_binary_files_folders_and_absent_files_are_named(keys: Path):
    binary = keys / "binary.key"
    binary.write_bytes(bytes(range(256)))
    for path, words in (
        (binary, "no CURVE key file"),
        (keys, "does not exist (or is no plain file)"),
        (keys / "absent.key", "does not exist"),
    ):
        line = refusal(path, keys / "agent.key_secret")
        assert f"source.curve_server_key: {path}" in line
        assert words in line


def test_the_public_half_is_no_secret_key(keys: Path):
    assert "give the .key_secret file" in refusal(keys / "publisher.key", keys / "agent.key")


def test_halves_of_different_pairs_are_told_apart(keys: Path, tmp_path: Path):
    make_keys(tmp_path / "others")
    mine = (keys / "agent.key_secret").read_text()
    theirs = (tmp_path / "others" / "agent.key_secret").read_text()
    mixed = [
        a if "public" in a else b for a, b in zip(mine.split("\n"), theirs.split("\n"), strict=True)
    ]
    path = keys / "mixed.key_secret"
    path.write_text("\n".join(mixed))
    path.chmod(0o600)
    line = refusal(keys / "publisher.key", path)
    assert "do not belong together" in line
    assert not any(word.strip('"') in line for word in theirs.split() if len(word) == 42)


def test_one_key_without_the_other_is_a_mistake_in_the_configuration():
    for wrong in ({"curve_server_key": "a.key"}, {"curve_secret_key": "a.key_secret"}):
        with pytest.raises(ValidationError, match="CURVE needs both"):
            ZmqSettings.model_validate(wrong)
