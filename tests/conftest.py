"""What every test gets: an empty home, fixed seeds, no network needed."""

import os
import random
import sys
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import numpy as np
import pytest
from filelock import FileLock

# A busy machine is no failure: examples are judged by their outcome, not by the clock. The examples of `make test` are
# the same each time, so that what passed passes again; `pytest --hypothesis-profile search` looks for new ones.
hypothesis.settings.register_profile("same", deadline=None, derandomize=True)
hypothesis.settings.register_profile("search", deadline=None)
hypothesis.settings.load_profile("same")


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
