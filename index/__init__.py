"""Imported as vlrlt.index."""

if __name__ != "vlrlt.index":
    raise ModuleNotFoundError(f"import vlrlt.index, not {__name__!r}: the folder is part of the vlrlt package")
