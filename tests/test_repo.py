"""The repository itself: packages on disk, the wheel, guards, links, the Makefile's promises."""

import ast
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parent.parent
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
SETUPTOOLS = PYPROJECT["tool"]["setuptools"]


def packages_on_disk() -> dict[str, Path]:
    """Import name -> folder, through the links."""
    found = {}
    for init in (
        path for top in ("vlrlt", "train", "index", "ui") for path in sorted(ROOT.glob(f"{top}/**/__init__.py"))
    ):
        folder = init.parent
        parts = folder.relative_to(ROOT).parts
        found[".".join(parts if parts[0] == "vlrlt" else ("vlrlt", *parts))] = folder.resolve()
    return found


def test_package_list_equals_the_disk() -> None:
    assert sorted(SETUPTOOLS["packages"]) == sorted(packages_on_disk())


def test_mapping_points_at_the_folders() -> None:
    for name in ("train", "index", "ui"):
        assert SETUPTOOLS["package-dir"][f"vlrlt.{name}"] == name
        link = ROOT / "vlrlt" / name
        assert link.is_symlink()
        assert link.readlink() == Path("..") / name


@pytest.mark.parametrize("name", ["train", "index", "ui"])
def test_folders_refuse_their_bare_name(name: str) -> None:
    run = subprocess.run(
        [sys.executable, "-c", f"import {name}"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert run.returncode != 0
    assert f"import vlrlt.{name}, not {name!r}" in run.stderr


def test_wheel_holds_only_vlrlt(tmp_path: Path) -> None:
    """Built from a copy, as a release would be; every module and the embedded model are in it."""
    copy = tmp_path / "source"
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    for name in tracked.decode().split("\0")[:-1]:
        source, target = ROOT / name, copy / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_symlink():
            target.symlink_to(source.readlink())
        elif source.exists():
            target.write_bytes(source.read_bytes())
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path / "dist"), str(copy)],
        check=True, capture_output=True,
    )  # fmt: skip
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names} == {"vlrlt", f"vlrlt-{PYPROJECT['project']['version']}.dist-info"}
    modules = {
        f"{name.replace('.', '/')}/{path.name}" for name, d in packages_on_disk().items() for path in d.glob("*.py")
    }
    assert modules <= set(names)
    assert {"vlrlt/py.typed", "vlrlt/default_model/model.safetensors"} <= set(names)


def test_embedded_model_is_small() -> None:
    size_bytes = sum(path.stat().st_size for path in (ROOT / "vlrlt" / "default_model").iterdir())
    assert size_bytes <= 12e6


def test_version_is_one() -> None:
    import vlrlt

    assert PYPROJECT["project"]["version"] == vlrlt.__version__


def test_every_module_imports_without_the_network() -> None:
    modules = [
        f"{name}.{path.stem}"
        for name, folder in packages_on_disk().items()
        for path in sorted(folder.glob("*.py"))
        if path.stem not in ("__init__", "__main__", "app")
    ]
    code = "import importlib, sys\nfor name in sys.argv[1:]: importlib.import_module(name)"
    run = subprocess.run([sys.executable, "-c", code, *modules], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr


def test_continuous_integration_calls_the_test_command() -> None:
    assert "make test" in (ROOT / ".ci" / "run").read_text()
    readme = (ROOT / "README.md").read_text()
    assert "make demo" in readme
    assert "make test" in readme


def make_targets() -> list[str]:
    phony = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert phony is not None
    return phony[1].split()


@pytest.mark.parametrize("target", make_targets())
def test_every_target_can_be_made(target: str) -> None:
    """Of what it would run, every file of ours is there and every marker is known."""
    run = subprocess.run(
        ["make", "--no-print-directory", "-n", target], cwd=ROOT, capture_output=True, text=True, check=True
    )
    for name in re.findall(r"\b(?:tests|benchmarks|configs)/[\w./-]+\.\w+", run.stdout):
        assert (ROOT / name).is_file(), name
    known = {line.partition(":")[0] for line in PYPROJECT["tool"]["pytest"]["ini_options"]["markers"]}
    assert set(re.findall(r"pytest -m (\w+)", run.stdout)) <= known


def test_the_help_names_every_target() -> None:
    run = subprocess.run(["make", "--no-print-directory", "help"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert {line.split()[0] for line in run.stdout.splitlines()} == set(make_targets())


def test_all_suites_are_in_one_target() -> None:
    """A marker that the usual run leaves out belongs to a suite of `make test-all`."""
    left_out = set(re.findall(r"not (\w+)", PYPROJECT["tool"]["pytest"]["ini_options"]["addopts"]))
    run = subprocess.run(
        ["make", "--no-print-directory", "-n", "test-all"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    files = set(re.findall(r"tests/test_\w+\.py", run.stdout))
    marked = {
        marker: {
            f"tests/{path.name}" for path in (ROOT / "tests").glob("test_*.py") if f"mark.{marker}" in path.read_text()
        }
        for marker in left_out
    }
    for marker, homes in marked.items():
        assert homes, marker
        assert f"pytest -m {marker}" in run.stdout or homes <= files, marker


@pytest.mark.parametrize("path", sorted((ROOT / ".github" / "workflows").iterdir()), ids=lambda path: path.name)
def test_workflows_run_what_there_is(path: Path) -> None:
    jobs = yaml.safe_load(path.read_text(encoding="utf-8"))["jobs"]
    commands = [step["run"] for job in jobs.values() for step in job["steps"] if "run" in step]
    assert commands
    for command in commands:
        targets = re.findall(r"\bmake (?:-C \S+ )?([\w-]+)", command)
        assert targets or command == "bash .ci/run"
        assert set(targets) <= set(make_targets())


def test_the_architecture_page_names_every_room() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`(\w+)`", "\n".join(re.findall(r"^\| (`.*?) \|", page, re.MULTILINE))))
    layers = PYPROJECT["tool"]["importlinter"]["contracts"][0]["layers"]
    assert named == {room for layer in layers for room in layer.split(" | ")}


def test_no_two_classes_have_one_name() -> None:
    """One name for one thing: a reader who looks for a class finds it."""
    homes: dict[str, list[str]] = {}
    for top in ("vlrlt", "train", "index", "ui"):
        for path in sorted((ROOT / top).rglob("*.py")):
            for node in ast.parse(path.read_text(encoding="utf-8")).body:
                if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                    homes.setdefault(node.name, []).append(str(path.relative_to(ROOT)))
    assert {name: places for name, places in homes.items() if len(places) > 1} == {}
