"""Libraries that whoever reads them cannot write, also where the tests run as root, which no permission bit stops."""

import encodings.ascii  # noqa: F401  the other user cannot read where Python keeps what it has not loaded yet
import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

_NOBODY = 65534


@contextmanager
def as_other_user(folder: Path) -> Iterator[None]:
    """Do something as a user who may read the folder, and write to no file of it."""
    root = os.geteuid() == 0
    try:
        if root:
            os.setgroups([])
            os.setresgid(_NOBODY, _NOBODY, 0)
            os.setresuid(_NOBODY, _NOBODY, 0)
        else:
            _chmod(folder, 0o555, 0o444)
        yield
    finally:
        if root:
            os.setresuid(0, 0, 0)
            os.setresgid(0, 0, 0)
        else:
            _chmod(folder, 0o755, 0o644)


@contextmanager
def on_read_only_mount(folder: Path) -> Iterator[None]:
    """Do something while the folder is mounted read-only over itself."""
    if subprocess.run(["mount", "--bind", "-o", "ro", folder, folder], capture_output=True, check=False).returncode:
        pytest.skip("only root may mount, and not in every container")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


UNWRITABLE: tuple[Callable[[Path], AbstractContextManager[None]], ...] = (as_other_user, on_read_only_mount)


@contextmanager
def folder_for_everybody() -> Iterator[Path]:
    """A folder that any user can reach; those of pytest belong to one."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


def _chmod(folder: Path, folder_mode: int, file_mode: int) -> None:
    for path in (folder, *folder.rglob("*")):
        path.chmod(folder_mode if path.is_dir() else file_mode)
