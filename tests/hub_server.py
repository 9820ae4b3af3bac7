"""A Hugging Face hub on this machine with one small model, and the model's entry in open_clip's registry."""

import contextlib
import hashlib
import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import open_clip
import pytest
import safetensors.torch
import torch
from open_clip import pretrained
from serving import serving
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

NAME = "ViT-tiny-test/tag"
REPOSITORY = "vlrlt/tiny"
COMMIT, NEXT_COMMIT = "a" * 40, "b" * 40
WEIGHTS = "open_clip_model.safetensors"
CONFIG = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 64, "patch_size": 16},
    "text_cfg": {
        "context_length": 8,
        "vocab_size": 10,
        "width": 16,
        "heads": 2,
        "layers": 1,
        "hf_tokenizer_name": REPOSITORY,
    },
}
MEAN = (0.1, 0.2, 0.3)


def register(folder: Path) -> None:
    """Make NAME known to open_clip in this process."""
    config = folder / f"{NAME.partition('/')[0]}.json"
    config.write_text(json.dumps(CONFIG))
    open_clip.add_model_config(config)
    entry = {"hf_hub": f"{REPOSITORY}/", "url": "", "mean": MEAN, "std": MEAN, "interpolation": "bilinear"}
    pretrained._PRETRAINED[NAME.partition("/")[0]] = {"tag": entry}


def model_files() -> dict[str, bytes]:
    """What the hub serves of the model: random weights and a vocabulary of ten words."""
    torch.manual_seed(0)
    model = open_clip.create_model(NAME.partition("/")[0])
    words = {word: number for number, word in enumerate(["[PAD]", "[UNK]", "open", "the", "fridge"])}
    tokenizer = Tokenizer(WordLevel(words, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    special = {"unk_token": "[UNK]", "pad_token": "[PAD]"}
    texts = {
        "open_clip_config.json": json.dumps({"model_cfg": CONFIG}),
        "tokenizer.json": tokenizer.to_str(),
        "tokenizer_config.json": json.dumps({"tokenizer_class": "PreTrainedTokenizerFast", **special}),
        "special_tokens_map.json": json.dumps(special),
    }
    return {WEIGHTS: safetensors.torch.save(model.state_dict())} | {name: text.encode() for name, text in texts.items()}


class Hub:
    """What is served; tests change it. The newest commit is `commit`; older ones serve the same files."""

    def __init__(self, files: dict[str, bytes], repository: str) -> None:
        self.files = files
        self.repository = repository
        self.commit = COMMIT
        self.stated_sha256: str | None = None
        self.requests: list[str] = []


@contextlib.contextmanager
def local_hub(
    files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch, *, repository: str = REPOSITORY
) -> Iterator[Hub]:
    """The hub of this process is a server on this machine."""
    hub = Hub(files, repository)
    with _serve(hub) as endpoint:
        template = endpoint + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", endpoint)
        monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)
        yield hub


@contextlib.contextmanager
def _serve(hub: Hub) -> Iterator[str]:
    """The endpoint's address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            hub.requests.append(self.path)
            head, _, tail = self.path.strip("/").partition("/resolve/")
            revision, _, name = tail.partition("/")
            body = hub.files.get(name) if head == hub.repository else None
            self.send_response(200 if body is not None else 404)
            self.send_header("X-Repo-Commit", hub.commit if revision == "main" else revision)
            if body is None:
                self.send_header("X-Error-Code", "EntryNotFound" if head == hub.repository else "RepoNotFound")
                body = b""
            sha256 = hashlib.sha256(body).hexdigest()
            if name.endswith(".safetensors"):  # git-LFS files are named by their SHA-256, others by git's SHA-1
                self.send_header("X-Linked-Etag", f'"{hub.stated_sha256 or sha256}"')
                self.send_header("X-Linked-Size", str(len(body)))
            self.send_header("ETag", f'"{sha256[:40]}"')
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        do_HEAD = do_GET

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    with serving(server):
        yield f"http://127.0.0.1:{server.server_port}"
