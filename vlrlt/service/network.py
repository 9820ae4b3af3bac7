"""Shared by servers: addresses to listen on, and folders that visitors may index."""

import socket
from pathlib import Path

from vlrlt.errors import ConfigError

LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
"""Names of this machine that no other machine reaches."""


def listen(host: str, port: int) -> socket.socket:
    """Before anything is loaded: an address that cannot be had is said at once.

    Raises:
        ConfigError: it is in use, or not one of this machine.
    """
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        reason = (error.strerror or str(error)).partition(" (while")[0]
        raise ConfigError(f"cannot listen on {host}, port {port}: {reason}; try another --port") from error


def parse_root(text: str) -> tuple[str, Path]:
    """Read NAME=DIR.

    Raises:
        ConfigError: it is malformed, or there is no such folder.
    """
    name, separator, folder = text.partition("=")
    if not separator or not name or not Path(folder).is_dir():
        raise ConfigError(f"a root is NAME=DIR with an existing folder, got {text!r}")
    return name, Path(folder).resolve()
