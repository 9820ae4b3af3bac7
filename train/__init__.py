"""Imported as vlrlt.train."""

if __name__ != "vlrlt.train":
    raise ModuleNotFoundError(f"import vlrlt.train, not {__name__!r}: the folder is part of the vlrlt package")
