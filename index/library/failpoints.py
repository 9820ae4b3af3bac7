"""Places where `make test-crash` makes a run die or a disk fail. Each stands between two steps of a commit.

VLRLT_FAILPOINT=7        the process is killed (SIGKILL) when it reaches failpoint 7 for the first time
VLRLT_FAILPOINT=7:3      when it reaches it for the third time
VLRLT_FAILPOINT=7:1:28   the step raises OSError(28), "No space left on device", instead
"""

import os
import signal
from typing import Literal, get_args

Failpoint = Literal[
    "run started",
    "before the segment folder",
    "before the vectors",
    "after the vectors",
    "before the folder is synced",
    "before the rename",
    "after the rename",
    "segment is durable",
    "in the transaction, file noted",
    "in the transaction, frame runs noted",
    "chunk is committed",
    "before chunks are merged",
    "in the transaction of a merge",
    "chunks are merged",
    "before the index is saved",
    "run is over",
]
FAILPOINTS: tuple[Failpoint, ...] = get_args(Failpoint)
"""Their numbers count from 1."""

_passed = dict.fromkeys(FAILPOINTS, 0)


def failpoint(name: Failpoint) -> None:
    """Pass a place where a test may let the process die or the disk fail; normally nothing happens.

    Raises:
        OSError: the test asks for it.
    """
    wanted = os.environ.get("VLRLT_FAILPOINT")
    if wanted is None:
        return
    given = [int(part) for part in wanted.split(":")]
    number, time, error = given + [1, 0][len(given) - 1 :]
    _passed[name] += 1
    if FAILPOINTS[number - 1] != name or _passed[name] != time:
        return
    if error:
        raise OSError(error, os.strerror(error))
    os.kill(os.getpid(), signal.SIGKILL)
