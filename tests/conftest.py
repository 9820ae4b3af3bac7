"""What every test gets: an empty home, fixed seeds, no network needed."""

import contextlib
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
import pytest
from filelock import FileLock

# A busy machine is no failure: examples are judged by their outcome, not by the clock. The examples of `make test` are
# the same each time, so that what passed passes again; `pytest --hypothesis-profile search` looks for new ones.
hypothesis.settings.register_profile("same", deadline=None, derandomize=True)
hypothesis.settings.register_profile("search", deadline=None)
hypothesis.settings.load_profile("same")


def pytest_configure() -> None:
    """Programs that tests start have default signals, also where a script has started the tests in its background.

    Its shell lets them ignore SIGINT, and nohup SIGHUP. What is ignored is inherited; handlers are not.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for name in ("SIGHUP", "SIGQUIT"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_DFL)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests marked `linux` say so and are skipped elsewhere."""
    for item in items:
        if item.get_closest_marker("linux") and sys.platform != "linux":
            item.add_marker(pytest.mark.skip(reason="needs Linux"))


@pytest.fixture(autouse=True)
def _empty_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing may depend on, or be left in, the home of whoever runs the tests."""
    home = tmp_path_factory.mktemp("home")
    for name, folder in {"HOME": ".", "XDG_CACHE_HOME": ".cache", "XDG_CONFIG_HOME": ".config"}.items():
        monkeypatch.setenv(name, str(home / folder))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.fixture(autouse=True)
def _seeds() -> None:
    random.seed(0)
    np.random.seed(0)  # libraries under test may use the global generator


@pytest.fixture(autouse=True)
def _main_module() -> Iterator[None]:
    """Streamlit's AppTest leaves its script as __main__; processes that a later test spawns would run that."""
    main = sys.modules["__main__"]
    yield
    sys.modules["__main__"] = main


@pytest.fixture
def start_process() -> Iterator[Callable[..., "subprocess.Popen[Any]"]]:
    """subprocess.Popen in a session of its own; what still runs when the test is over is killed, with its children."""
    processes: list[subprocess.Popen[Any]] = []

    def start(command: Sequence[object], **options: Any) -> "subprocess.Popen[Any]":
        processes.append(subprocess.Popen(list(map(str, command)), start_new_session=True, **options))
        return processes[-1]

    yield start
    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream is not None:
                stream.close()


@pytest.fixture
def library_dir(tmp_path: Path) -> Path:
    return tmp_path / "library"


@pytest.fixture(scope="session")
def toy_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four toy-kitchen videos of three participants, with their annotation files; the workers of a run share them."""
    from vlrlt.toy.make import make_toy_kitchen

    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "toy"
    with FileLock(folder.with_suffix(".lock")):
        make_toy_kitchen(folder, num_videos=4, seed=5, num_workers=2)
    return folder
