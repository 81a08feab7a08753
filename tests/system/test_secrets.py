"""Secrets stay where they are: in no log, status, heartbeat, check, error or process list."""

import time
from pathlib import Path

import psutil
import pytest

from tests.helpers.commands import ended
from tests.helpers.rig import Rig, read_until
from tests.helpers.servers import redis_client, running_redis, running_tiled
from tests.helpers.tls import Authority, encrypted

pytestmark = pytest.mark.system


class Said:
    """Collects all that was said, and finds in it whole secrets and their halves."""

    def __init__(self, secrets: list[str]):
        self.text: dict[str, str] = {}
        self._secrets = secrets

    def leaks(self) -> list[tuple[str, str]]:
        pieces = [piece for s in self._secrets for piece in (s, s[:8], s[-8:])]
        return [(where, p) for where, text in self.text.items() for p in pieces if p in text]


def qd(said: Said, *arguments: str, env: dict[str, str] | None = None) -> tuple[int, str]:
    done = ended(*arguments, env=env)
    said.text[" ".join(arguments) + f" ({len(said.text)})"] = done.stdout + done.stderr
    return done.returncode, done.stdout + done.stderr


def command_lines() -> str:
    lines = []
    for process in psutil.process_iter():
        try:
            lines.append(" ".join(process.cmdline()))
        except psutil.Error:
            continue
    return "\n".join(lines)


def private(path: Path, text: str) -> str:
    path.write_text(text)
    path.chmod(0o600)
    return str(path)


def test_no_secret_is_ever_shown(rig: Rig):
    """Password in a file, API key in the environment, both stores behind TLS, CURVE keys; first
    all of it right, then each of it wrong, and in the end the stores away."""
    authority = Authority(rig.folder / "ca")
    keys = rig.folder / "keys"
    with (
        running_redis(rig.folder / "redis") as redis,
        running_tiled(rig.folder / "tiled") as tiled,
    ):
        wrong = "wr0ng-but-none-of-your-business"
        said = Said([redis.secret, tiled.secret, wrong])
        qd(said, "keys", str(keys))
        curve = (keys / "agent.key_secret").read_text().split('secret-key = "')[1].split('"')[0]
        said._secrets.append(curve)
        with encrypted(redis.url, authority) as redis_url, encrypted(tiled.url, authority) as uri:
            ca = str(authority.ca_file)
            password = private(rig.folder / "password", redis.secret + "\n")
            source = {
                "address": rig.address,
                "curve_server_key": "keys/publisher.key",
                "curve_secret_key": "keys/agent.key_secret",
            }
            stores = {
                "redis": {"url": redis_url, "password_file": password, "tls_ca_file": ca},
                "tiled": {"uri": uri, "api_key_env": "QD_KEY", "tls_ca_file": ca},
            }
            env = {"QD_KEY": tiled.secret}
            beamline = rig.start_beamline(
                *("growth", "--frames", "2", "--binning", "4"),
                *("--curve-key", str(keys / "publisher.key_secret")),
            )
            rig.wait_for_calibration(beamline)
            config = rig.config(log_level="debug", source=source, **stores)
            assert qd(said, "check", str(config), env=env)[0] == 0
            agent = rig.start_agent(config, env)
            lines = read_until(agent, lambda line: "frame answered" in line and "/2/0" in line)
            said.text["process list"] = command_lines()
            with redis_client(redis) as client:
                deadline = time.monotonic() + 60
                while not (beat := client.hgetall("qd:agent:test-agent")):
                    assert time.monotonic() < deadline, "no heartbeat"
                said.text["heartbeat"] = str(beat)
                keys_there = [key for key in client.scan_iter() if client.type(key) == b"hash"]
                said.text["hashes"] = str([client.hgetall(key) for key in keys_there])
            code, status = qd(said, "status", str(config), env=env)
            assert code == 0
            assert "tls" not in status
            qd(said, "status", str(config), "--json", env=env)
            said.text["agent"] = "\n".join(lines) + rig.terminate(agent)
            assert agent.returncode == 0
            assert "frame answered" in said.text["agent"]

            in_url = redis_url.replace("rediss://", f"rediss://:{wrong}@")
            bad = {
                "url": {"redis": {"url": in_url, "tls_ca_file": ca}},
                "file": {
                    "redis": {**stores["redis"], "password_file": private(rig.folder / "w", wrong)}
                },
                "query": {"tiled": {"uri": f"{uri}?api_key={wrong}", "tls_ca_file": ca}},
                "no CA": {"redis": {"url": redis_url, "password_file": password}},
                "unknown key": {"redis": {"url": in_url, "passwort": wrong}},
                "no URL": {"redis": {"url": wrong}, "tiled": {"uri": wrong}},
                "no text": {"tiled": {"uri": ["x", wrong]}},
            }
            for changes in bad.values():
                config = rig.config(source=source, **{**stores, **changes})
                assert qd(said, "check", str(config), env=env)[0] != 0
            qd(said, "check", str(config), env={"QD_KEY": wrong})
            config = rig.config(source=source, **stores)
        # Both wires are gone now.
        agent = rig.start_agent(config, env)
        lines = read_until(agent, lambda line: "sink is away" in line)
        said.text["stores away"] = "\n".join(lines) + rig.terminate(agent)
        qd(said, "status", str(config), env=env)
    assert said.leaks() == []
    said.text["control"] = f"... {curve[:8]} ..."
    assert said.leaks() == [("control", curve[:8])]
    assert sum(len(text) for text in said.text.values()) > 5000
