"""Import optional dependencies, or name the command that installs them."""

import importlib
from types import ModuleType

from vlrlt.errors import MissingExtraError


def require(module: str, *, extra: str, note: str = "") -> ModuleType:
    """Import an optional module.

    Args:
        module: its import name, e.g. "faiss".
        extra: the extra of vlrlt that installs it, e.g. "cpu".
        note: what else to know, appended to the command.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module.partition(".")[0]:
            raise  # installed, but broken: something that it needs is missing
        raise MissingExtraError(module, extra, note=note) from None
