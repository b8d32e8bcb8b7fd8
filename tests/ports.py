"""Ports for servers of the tests."""

from __future__ import annotations

import contextlib
import secrets
import socket

# Below those that Linux gives connections going out, and above what Ray gives workers and servers of clients: who is given one of
# them may wait a while before it listens.
OURS = range(24_100, 32_700)


def free_ports(count: int) -> list[int]:
    """Ports that nothing listens on now, all different."""
    found = list[int]()
    while len(found) < count:
        port = secrets.choice(OURS)
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            found += [port] if port not in found else []
    return found
