"""What the documentation says can be typed, followed and built."""

import doctest
import re
import shlex
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import torch
import typer
import yaml

from vlrlt.cli import app

ROOT = Path(__file__).parent.parent
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", *(ROOT / "docs").rglob("*.md")])
DEPLOY = sorted([*(ROOT / "deploy").iterdir(), ROOT / "Makefile"])
CLI: Any = typer.main.get_command(app)
FENCE = re.compile(r"^```[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)


def command_lines(path: Path) -> list[list[str]]:
    """Every `vlrlt ...` of a page's code blocks, of a deploy file's commands and comments, as arguments."""
    text = path.read_text(encoding="utf-8")
    blocks = "\n".join(FENCE.findall(text)) if path.suffix == ".md" else text
    found = re.findall(r"(?:^ *|&& |\$ |#  +|/bin/|--rm )vlrlt ([a-z][^\n&|>{`]*)", blocks, re.MULTILINE)
    return [shlex.split(line, comments=True) for line in found]


def parse(arguments: list[str]) -> None:
    """Click's own parsing, down to the command, which is not run."""
    command, context = CLI, None
    while True:
        name = "vlrlt" if context is None else arguments.pop(0)
        context = command.make_context(name, list(arguments), parent=context)
        children = getattr(command, "commands", None)
        if children is None:
            return
        command = children[arguments[0]]


def test_commands_are_found() -> None:
    """The test below would pass over pages that it cannot read."""
    readme = command_lines(ROOT / "README.md")
    assert ["index", "~/Videos", "--library", "lib", "--model", "PE-Core-B-16/meta"] in readme
    assert len(readme) == 8, "the README shows eight commands, docs/how-to/search.md the others"
    assert len(command_lines(ROOT / "docs" / "how-to" / "search.md")) > 25


@pytest.mark.parametrize("path", [*PAGES, *DEPLOY], ids=lambda path: str(path.relative_to(ROOT)))
def test_every_command_is_one_that_the_program_takes(path: Path) -> None:
    for arguments in command_lines(path):
        if {"QUERY", "QUESTION", "PATH"} & set(arguments):
            continue  # a form, not a command
        try:
            parse(list(arguments))
        except Exception as error:
            pytest.fail(f"vlrlt {shlex.join(arguments)}: {error!r}")


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_commands_in_the_text_exist_with_their_options(path: Path) -> None:
    for line in re.findall(r"`vlrlt ([^`]+)`", FENCE.sub("", path.read_text(encoding="utf-8"))):
        words = re.findall(r"[^\s\"']+", line)
        command = CLI
        while words and (child := getattr(command, "commands", {}).get(words[0])) is not None:
            command = child
            words.pop(0)
        assert command is not CLI or words == ["..."] or words[0].startswith("--"), line
        known = {option for parameter in command.params for option in parameter.opts} | {"--help"}
        if command.name != "train":
            assert {word for word in words if word.startswith("--")} <= known, line


def test_the_readme_fits_a_screen() -> None:
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 130
    assert max(map(len, lines)) <= 120


def test_every_experiment_begins_with_its_verdict() -> None:
    overview = (ROOT / "docs" / "experiments.md").read_text(encoding="utf-8")
    for page in (ROOT / "docs" / "experiments").iterdir():
        question, _, verdict = page.read_text(encoding="utf-8").split("\n")[:3]
        assert re.fullmatch(r"# .*\?", question), page.name
        assert verdict.startswith("**Verdict: "), page.name
        assert f"[{question[2:]}](experiments/{page.name})" in overview


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_to_files(path: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)", path.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (path.parent / target).exists(), target


def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path)]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    commands = (tmp_path / "reference" / "commands.html").read_text(encoding="utf-8")
    assert all(f'id="vlrlt-{name}"' in commands for name in ("index", "search", "models-pull"))
    assert "load_embedder" in (tmp_path / "reference" / "python.html").read_text(encoding="utf-8")


# Examples in Python


NUMBER = re.compile(r"\d+(?:\.\d+)?")


class NearlyEqual(doctest.OutputChecker):
    """Output that differs in the last decimal of its numbers, as that of another processor may, is right."""

    def check_output(self, want: str, got: str, optionflags: int) -> bool:
        pairs = list(zip(NUMBER.findall(want), NUMBER.findall(got), strict=False))
        near = all(one == two or _differ_in_last_decimal(one, two) for one, two in pairs)
        return super().check_output(NUMBER.sub("#", want), NUMBER.sub("#", got), optionflags) and near


def _differ_in_last_decimal(one: str, two: str) -> bool:
    return "." in one and abs(float(one) - float(two)) < 1.5 * 10.0 ** -len(one.partition(".")[2])


def example_blocks(path: Path) -> str:
    """All that a page types at Python's prompt, with what comes back; lines keep their numbers."""
    lines, inside = [], False
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("```"):
            inside = line == "```python"
            line = ""
        lines.append(line if inside else "")
    return "\n".join(lines) + "\n"


def test_examples_in_python_give_what_is_shown(toy_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every page with a prompt, each in a folder of its own with the toy kitchen."""
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict)  # bfloat16 gives other last decimals
    pages = [path for path in PAGES if ">>>" in example_blocks(path)]
    assert ROOT / "docs" / "reference" / "python.md" in pages
    for number, path in enumerate(pages):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "toy").symlink_to(toy_data)
        monkeypatch.chdir(folder)
        test = doctest.DocTestParser().get_doctest(example_blocks(path), {}, path.name, str(path), 0)
        said: list[str] = []
        runner = doctest.DocTestRunner(checker=NearlyEqual(), optionflags=doctest.ELLIPSIS)
        runner.run(test, out=said.append)
        assert said == [], "".join(said)


def test_the_checker_of_examples_refuses_what_is_wrong() -> None:
    check = NearlyEqual().check_output
    assert check("0.866  00:41.5\n", "0.867  00:41.4\n", 0)
    assert not check("0.866\n", "0.868\n", 0)
    assert not check("4 videos\n", "5 videos\n", 0)
    assert not check("once\n", "twice\n", 0)


# Files that other programs read


def test_yaml_files_parse_and_the_archive_is_mounted_read_only() -> None:
    files = [*(ROOT / "deploy").glob("*.yml"), *(ROOT / ".github").rglob("*.yml")]
    parsed = {path.name: yaml.safe_load(path.read_text(encoding="utf-8")) for path in files}
    for service in parsed["compose.yml"]["services"].values():
        assert service["volumes"][0].endswith(":/archive:ro")
        assert (service["user"], service["read_only"], service["cap_drop"]) == ("1000:1000", True, ["ALL"])
    assert parsed["test.yml"]["jobs"]["test"]["steps"][-1] == {"run": "bash .ci/run"}


def test_the_image_copies_every_folder_of_the_package() -> None:
    dockerfile = (ROOT / "deploy" / "Dockerfile").read_text(encoding="utf-8")
    let_in = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    for name in ("vlrlt", "train", "index", "ui", "pyproject.toml", "README.md", "LICENSE", "requirements.lock"):
        assert f"!{name}" in let_in
        assert re.search(rf"^COPY .*\b{re.escape(name)}\b", dockerfile, re.MULTILINE), name


def test_the_qdrant_image_suits_the_client() -> None:
    """Its minor version may differ by one from that of the client (qdrant_client.common.version_check)."""
    check = pytest.importorskip("qdrant_client.common.version_check", reason="needs the extra qdrant")
    service = yaml.safe_load((ROOT / "deploy" / "compose.qdrant.yml").read_text(encoding="utf-8"))["services"]["qdrant"]
    assert check.is_compatible(version("qdrant-client"), service["image"].partition(":v")[2])


def test_ray_takes_the_cluster_file() -> None:
    util = pytest.importorskip("ray.autoscaler._private.util", reason="needs the extra ray")
    config = yaml.safe_load((ROOT / "deploy" / "ray-cluster.yaml").read_text(encoding="utf-8"))
    util.validate_config(util.prepare_config(config))
