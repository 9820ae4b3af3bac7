"""Where copies are kept that can be made again: below the library, or in the user's cache if that cannot be written."""

import os
from pathlib import Path

import xxhash


def cached_file(library_dir: Path, name: str) -> Path:
    """Where a file of the cache is, or is to be written."""
    beside = library_dir / "cache"
    file = beside / name
    if file.exists() or os.access(beside if beside.exists() else library_dir, os.W_OK):
        return file
    user_cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return user_cache / "vlrlt" / xxhash.xxh3_64_hexdigest(os.fsencode(library_dir.resolve())) / name
