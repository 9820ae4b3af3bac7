"""A FAISS index on disk, a copy of the segments that can be deleted at any time.

    LIBRARY/faiss/<fingerprint>-<generation>/index.faiss    read through memory mapping
                                             ids.i64        clip id of every row
                                             sample.f16     vectors of clips that stand for the whole library
                                             base.json      plan, tuning, measured recall
                                             xxh3.json      checksums of the other files

The only file that imports faiss. Legend: R rows of the index, N clips of a snapshot, D embedding, S sampled clips.
"""

import contextlib
import json
import shutil
import uuid
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import xxhash

from vlrlt.extras import require
from vlrlt.index.vectors.plan import IndexPlan
from vlrlt.index.vectors.protocol import Mask, PositionArray
from vlrlt.types import Float32Array

_FAISS_NOTE = ", or 'vlrlt[gpu]' on Linux with an NVIDIA GPU, never both: they provide the same module"
_FILES = ("index.faiss", "ids.i64", "sample.f16", "base.json")
_TRAINING_POINTS_PER_LIST = 40
_TRAINING_ITERATIONS = 6
_HASH_CHUNK_BYTES = 1 << 24


@dataclass(frozen=True, kw_only=True)
class Tuning:
    """How an inverted file is searched, and what that costs in recall."""

    num_probes: int
    """Lists that are looked into; 0: the index is exact."""
    recall_at_10: dict[str, float]


UNTUNED = Tuning(num_probes=0, recall_at_10={})


@dataclass(frozen=True, kw_only=True)
class BaseFacts:
    """What base.json says."""

    plan: IndexPlan
    trained_clips: int
    """Size of the library when the index was trained."""
    tuning: Tuning = UNTUNED


@dataclass(frozen=True, kw_only=True)
class Base:
    """An index and what belongs to it."""

    index: Any
    ids_R: PositionArray
    """Clip ids."""
    sample_SD: Float32Array
    facts: BaseFacts


def load_faiss() -> Any:  # noqa: ANN401  faiss has no types
    """The module faiss.

    Raises:
        MissingExtraError: it is not installed.
    """
    return require("faiss", extra="cpu", note=_FAISS_NOTE)


def new_index(plan: IndexPlan, *, embed_dim: int, training_MD: Float32Array) -> Any:  # noqa: ANN401
    """An empty index of inner products, trained on M vectors if it needs that."""
    faiss = load_faiss()
    index = faiss.index_factory(embed_dim, plan.factory, faiss.METRIC_INNER_PRODUCT)
    if plan.exact:
        index.is_trained = True  # float16 has nothing to learn
        return index
    index.cp.niter = _TRAINING_ITERATIONS
    index.cp.min_points_per_centroid = 1  # fewer is only a warning on stderr
    index.train(training_MD)
    return index


def training_size(plan: IndexPlan) -> int:
    """How many vectors an index of this plan is trained on."""
    return plan.num_lists * _TRAINING_POINTS_PER_LIST


def add_rows(index: Any, plan: IndexPlan, vectors_RD: Float32Array) -> None:  # noqa: ANN401
    """Append vectors; rows are numbered in the order they come."""
    if plan.exact:
        index.add(vectors_RD)
    else:
        index.add_with_ids(vectors_RD, np.arange(index.ntotal, index.ntotal + len(vectors_RD)))


def remove_rows(index: Any, plan: IndexPlan, gone_R: Mask) -> None:  # noqa: ANN401
    """Delete rows; those that stay close ranks and keep their order."""
    faiss = load_faiss()
    bits, selector = selector_of(gone_R)
    index.remove_ids(selector)
    del bits
    if plan.exact:
        return
    row_R = np.cumsum(~gone_R) - 1
    for number in range(index.nlist):
        size = index.invlists.list_size(number)
        if size:
            rows = faiss.rev_swig_ptr(index.invlists.get_ids(number), size)
            rows[:] = row_R[rows]


def selector_of(within_R: Mask) -> tuple[Any, Any]:
    """A FAISS selector of rows, and the bits that it points to: keep both as long as it is used."""
    bits = np.packbits(within_R, bitorder="little")
    return bits, load_faiss().IDSelectorBitmap(bits)


def search_rows(
    index: Any,  # noqa: ANN401
    query_D: Float32Array,
    *,
    k: int,
    num_probes: int,
    within_R: Mask | None,
) -> tuple[PositionArray, Float32Array]:
    """Rows and scores of the k best in the lists that are looked into, as the index's codes have them."""
    faiss = load_faiss()
    if not k:
        return np.zeros(0, np.int64), np.zeros(0, np.float32)
    bits, selector = (None, None) if within_R is None else selector_of(within_R)
    if num_probes:
        params = faiss.SearchParametersIVF(sel=selector, nprobe=num_probes)
    else:
        params = faiss.SearchParameters(sel=selector)
    scores_1K, rows_1K = index.search(query_D[None], k, params=params)
    del bits
    found_K = rows_1K[0] >= 0
    return rows_1K[0][found_K], scores_1K[0][found_K]


def bases(library_dir: Path, fingerprint: str) -> list[Path]:
    """Folders of a model's indexes, the newest first."""
    with contextlib.suppress(OSError):
        folders = [folder for folder in (library_dir / "faiss").glob(f"{fingerprint}-*") if folder.suffix != ".tmp"]
        return sorted(folders, key=lambda folder: folder.stat().st_mtime_ns, reverse=True)
    return []


def read_base(folder: Path, *, mapped: bool = True) -> Base | None:
    """The index in a folder; None if a file is missing or damaged, which FAISS itself would mostly not notice.

    Args:
        folder: one of `bases`.
        mapped: leave the codes on disk until a search touches them; then the index cannot be changed.
    """
    faiss = load_faiss()
    facts = read_facts(folder)
    if facts is None:
        return None
    try:
        expected = json.loads((folder / "xxh3.json").read_bytes())
        if any(_xxh3(folder / name) != expected[name] for name in _FILES):
            return None
        index = faiss.read_index(str(folder / "index.faiss"), faiss.IO_FLAG_MMAP_IFC if mapped else 0)
        return Base(
            index=index,
            ids_R=np.fromfile(folder / "ids.i64", np.dtype("<i8")),
            sample_SD=np.fromfile(folder / "sample.f16", "<f2").astype(np.float32).reshape(-1, index.d),
            facts=facts,
        )
    except (OSError, ValueError, KeyError, TypeError, RuntimeError):
        return None


def read_facts(folder: Path) -> BaseFacts | None:
    """What is known of the index in a folder, without opening it; None if that cannot be read."""
    try:
        facts = json.loads((folder / "base.json").read_bytes())
        return BaseFacts(
            plan=IndexPlan(**facts["plan"]), trained_clips=facts["trained_clips"], tuning=Tuning(**facts["tuning"])
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


def keep_base(base: Base, folder: Path) -> Base:
    """Write an index for the next time, drop its predecessors and open it mapped; as it is where the disk refuses.

    There is no fsync: a torn file has the wrong checksum and is built again.
    """
    partial = folder.with_name(f"{folder.name}.{uuid.uuid4()}.tmp")
    try:
        partial.mkdir(parents=True)
        load_faiss().write_index(base.index, str(partial / "index.faiss"))
        base.ids_R.astype("<i8").tofile(partial / "ids.i64")
        base.sample_SD.astype("<f2").tofile(partial / "sample.f16")
        (partial / "base.json").write_text(json.dumps(asdict(base.facts)))
        (partial / "xxh3.json").write_text(json.dumps({name: _xxh3(partial / name) for name in _FILES}))
        shutil.rmtree(folder, ignore_errors=True)
        partial.rename(folder)
    except (OSError, RuntimeError):  # FAISS raises the latter when it cannot write
        shutil.rmtree(partial, ignore_errors=True)
        return base
    _drop(old for old in bases(folder.parent.parent, folder.name.partition("-")[0]) if old != folder)
    written = read_base(folder)
    return base if written is None else replace(base, index=written.index)


def _drop(folders: Iterable[Path]) -> None:
    """Remove indexes; a process that has one mapped keeps it until it closes it."""
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


def _xxh3(file: Path) -> str:
    digest = xxhash.xxh3_128()
    with file.open("rb") as stream:
        while chunk := stream.read(_HASH_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()
