"""The child that calls functions for limited.py, under limits.

The parent writes one JSON line per call to the child's stdin: {"function": "module:name", "args", "kwargs", "path",
"cpu_s", "max_file_bytes"}; a path is {"path": text}. The child answers on stdout with a big-endian uint32, a
JSON header of that many bytes and, for bytes, the bytes themselves:

    {"value"}  or  {"size"} of the bytes that follow  or  {"error": {"kind", "reason", ...}}

It leaves Ctrl-C to its parent and ends with it.
"""

import importlib
import json
import logging
import os
import queue
import struct
import sys
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av

from vlrlt.errors import ConfigError, CorruptVideoError, DecodeError
from vlrlt.video.limits import MAX_MEMORY_BYTES, limit_cpu, limit_files, limit_process

_MAX_REASON_CHARS = 1000
HEADER_LENGTH = struct.Struct(">I")


def main() -> None:
    """Answer calls until stdin closes."""
    limit_process(max_file_bytes=None)
    warnings.simplefilter("ignore")
    # FFmpeg's last error line goes into the reason of an exception, and nowhere else.
    av.logging.set_level(av.logging.ERROR)
    logging.disable()
    # What any library prints must not end up between the answers.
    answers = os.dup(sys.stdout.fileno())
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    calls: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_serve, args=(calls, answers), daemon=True).start()
    for line in sys.stdin.buffer:
        calls.put(line)
    os._exit(0)  # at once, even where a decoder hangs in the other thread


def _serve(calls: "queue.SimpleQueue[bytes]", answers: int) -> None:
    try:
        while True:
            header, payload = _answer(json.loads(calls.get(), object_hook=_path_from_json))
            text = json.dumps(header).encode()
            view = memoryview(HEADER_LENGTH.pack(len(text)) + text + payload)
            while view:
                view = view[os.write(answers, view) :]
    finally:
        os._exit(1)  # a fault of ours, or nobody listens; without this thread the process would only be silent


def _path_from_json(value: dict[str, Any]) -> Any:  # noqa: ANN401  as json has it
    return Path(value["path"]) if value.keys() == {"path"} else value


def _answer(call: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
    limit_cpu(call["cpu_s"])
    limit_files(call["max_file_bytes"])
    try:
        result = _function(call["function"])(*call["args"], **call["kwargs"])
    except Exception as error:  # decoders and encoders raise dozens of unrelated types on damaged files
        return {"error": _error_as_json(error, call["path"])}, b""
    if isinstance(result, bytes):
        return {"size": len(result)}, result
    return {"value": result}, b""


def _function(name: str) -> Callable[..., object]:
    module, _, function = name.partition(":")
    found: Callable[..., object] = getattr(importlib.import_module(module), function)
    return found


def _error_as_json(error: Exception, path: Path) -> dict[str, Any]:
    """ConfigError and OSError as they are; every other error is one of the file."""
    if isinstance(error, ConfigError):
        return {"kind": ConfigError.__name__, "reason": str(error)}
    if type(error).__module__ == "builtins" and isinstance(error, OSError) and error.errno:
        return {"kind": "OSError", "reason": error.strerror, "errno": error.errno}
    if isinstance(error, MemoryError):
        reason = f"it needs more than {MAX_MEMORY_BYTES / 2**30:.0f} GiB of memory"
        error = CorruptVideoError(path, stage="decode", reason=reason)
    if not isinstance(error, DecodeError):
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        error = DecodeError(path, stage="decode", reason=reason[:_MAX_REASON_CHARS])
    return error.as_json()


if __name__ == "__main__":
    main()
