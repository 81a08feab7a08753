"""Fixtures of this folder."""

from tests.helpers.servers import redis_server, tiled_server

__all__ = ["redis_server", "tiled_server"]
