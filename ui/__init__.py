"""Imported as vlrlt.ui."""

if __name__ != "vlrlt.ui":
    raise ModuleNotFoundError(f"import vlrlt.ui, not {__name__!r}: the folder is part of the vlrlt package")
