"""What is asked of stores before a beamtime, on a real Redis."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from qd_agent.check import check_config
from qd_agent.core.errors import Unavailable
from qd_agent.sinks import RedisConnection
from qd_agent.sinks.checks import forgetful_redis
from tests.helpers.rig import Rig, refusing_port


@pytest.fixture
def client(redis_server) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_server.url, password=redis_server.secret) as client:
        yield client
        client.config_set("maxmemory-policy", "noeviction")
        client.config_set("maxmemory", "0")


def test_a_redis_that_throws_keys_away_when_full_is_told_of(redis_server, client: redis.Redis):
    connection = RedisConnection(redis_server.url, redis_server.secret)
    assert forgetful_redis(connection) is None, "as our own servers are started"
    client.config_set("maxmemory-policy", "allkeys-lru")
    assert forgetful_redis(connection) is None, "without a limit it keeps everything"
    client.config_set("maxmemory", str(512 * 2**20))
    said = forgetful_redis(connection)
    assert said is not None
    assert "512 MiB" in said
    assert "allkeys-lru" in said
    assert "set maxmemory-policy noeviction" in said
    assert redis_server.secret not in said
    client.config_set("maxmemory-policy", "noeviction")
    assert forgetful_redis(connection) is None, "writes fail there, and the agent keeps them"
    client.config_set("maxmemory-policy", "volatile-ttl")
    assert forgetful_redis(connection) is None, "sizes have no expiry"


def test_a_redis_that_is_away_is_said_to_be():
    with refusing_port() as port, pytest.raises(Unavailable):
        forgetful_redis(RedisConnection(f"redis://127.0.0.1:{port}"))


def test_check_warns_of_it_in_a_line(tmp_path: Path, redis_server, client: redis.Redis):
    client.config_set("maxmemory-policy", "allkeys-lfu")
    client.config_set("maxmemory", str(64 * 2**20))
    rig = Rig(tmp_path)
    rig.calibrate()
    secret = tmp_path / "password"
    secret.write_text(redis_server.secret)
    secret.chmod(0o600)
    config = rig.config(redis={"url": redis_server.url, "password_file": str(secret)})
    found = {finding.name: finding for finding in check_config(config)}
    assert found["memory"].grade == "warn"
    assert "64 MiB" in found["memory"].text
    assert found["redis"].grade == "ok"
