"""Programs watched from outside by strace: which other machines they turn to, whatever library or native code it is."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

STRACE = shutil.which("strace")
_CALLS = "connect,sendto,sendmsg,sendmmsg"
_INET = re.compile(r'sin_port=htons\((\d+)\), sin_addr=inet_addr\("([^"]+)"\)')
_INET6 = re.compile(r'sin6_port=htons\((\d+)\).*?inet_pton\(AF_INET6, "([^"]+)"')
_DNS_PORT = 53
"""A name that is looked up leaves the machine, also by a resolver that answers on loopback."""


def under_strace(log: Path) -> list[str]:
    """What to put before a command; its children are watched too."""
    return [str(STRACE), "-f", "--seccomp-bpf", "-qq", "-e", f"trace={_CALLS}", "-o", str(log)]


def other_machines(log: Path) -> list[str]:
    """The calls that address anything but loopback, as strace wrote them."""
    return list(_foreign(log.read_text(errors="replace")))


def _foreign(trace: str) -> Iterator[str]:
    for line in trace.splitlines():
        for port, address in (*_INET.findall(line), *_INET6.findall(line)):
            is_loopback = address.startswith("127.") or address in ("::1", "::ffff:127.0.0.1")
            if not is_loopback or int(port) == _DNS_PORT:
                yield line
