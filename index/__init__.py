"""Imported as vlrlt.index, which can be called: vlrlt.index(["~/Videos"], library="lib")."""

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vlrlt.index.run.run_report import IndexReport

if __name__ != "vlrlt.index":
    raise ModuleNotFoundError(f"import vlrlt.index, not {__name__!r}: the folder is part of the vlrlt package")


class _Index(ModuleType):
    """This package as a function of the public API.

    Source: https://docs.python.org/3/reference/datamodel.html#customizing-module-attribute-access
    """

    def __call__(self, *args: Any, **options: Any) -> "IndexReport":  # noqa: ANN401  as index_archive
        """As vlrlt.index.run.archive.index_archive."""
        from vlrlt.index.run.archive import index_archive

        return index_archive(*args, **options)


sys.modules[__name__].__class__ = _Index
