"""Bringing the base of a library up to date: loaded, merged with what has changed, or built anew.

Legend: R rows of an index, N clips of the snapshot, K changed clips, Q queries, D embedding.
"""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np

from vlrlt.index.library.catalog import Snapshot
from vlrlt.index.vectors import faiss_base, selfcheck
from vlrlt.index.vectors.faiss_base import Base, BaseFacts, Tuning
from vlrlt.index.vectors.faiss_part import IndexPart
from vlrlt.index.vectors.plan import fits, plan_index
from vlrlt.index.vectors.protocol import SAMPLE_VECTORS, Hits, PositionArray, evenly
from vlrlt.index.vectors.stored import StoredVectors
from vlrlt.types import Float32Array

_MERGE_SHARE = 0.1
"""The base is rewritten when more than this share of the library has changed since."""
_FEWEST_PROBES = 8
_LEAST_GAIN = 0.001
"""Of recall: where half as many lists again bring less, it is the codes that lose hits."""
_CHUNK_ROWS = 50_000


def current_base(library_dir: Path, snapshot: Snapshot, stored: StoredVectors) -> tuple[Base, PositionArray]:
    """An index that holds nine tenths of a library or more, and where its rows stand in the clip table.

    Raises:
        MissingExtraError: faiss is not installed.
        LibraryError: a segment is missing or damaged.
    """
    ids_N, fingerprint = snapshot.frame_runs.ids_N, snapshot.settings.fingerprint
    old = None
    for folder in faiss_base.bases(library_dir, fingerprint):
        found = faiss_base.read_base(folder)
        if found is None:
            continue
        positions_R = positions_of(found.ids_R, ids_N)
        if fits(found.facts.plan, trained_clips=found.facts.trained_clips, num_clips=len(ids_N)):
            if _num_changed(positions_R, len(ids_N)) <= _MERGE_SHARE * len(ids_N):
                return found, positions_R
            old = faiss_base.read_base(folder, mapped=False)
        break
    base = _built(stored, ids_N) if old is None else _merged(old, stored, ids_N)
    positions_R = positions_of(base.ids_R, ids_N)
    base = replace(base, facts=_tuned(base, stored, positions_R))
    return faiss_base.keep_base(base, library_dir / "faiss" / f"{fingerprint}-{snapshot.generation}"), positions_R


def positions_of(ids_R: PositionArray, ids_N: PositionArray) -> PositionArray:
    """Where each id stands in the clip table, (R,); -1: nowhere."""
    if np.array_equal(ids_R, ids_N):
        return np.arange(len(ids_N))
    order_N = np.argsort(ids_N)
    sorted_N = np.append(ids_N[order_N], -1)  # no id is negative: what lies past the end matches nothing
    place_R = np.searchsorted(sorted_N[:-1], ids_R)
    return np.where(sorted_N[place_R] == ids_R, np.append(order_N, -1)[place_R], -1)


def missing_from(positions_R: PositionArray, num_clips: int) -> PositionArray:
    """Positions of the clips that an index does not hold, ascending."""
    held_N = np.zeros(num_clips, np.bool_)
    held_N[positions_R[positions_R >= 0]] = True
    return np.flatnonzero(~held_N)


def _num_changed(positions_R: PositionArray, num_clips: int) -> int:
    return int((positions_R < 0).sum()) + len(missing_from(positions_R, num_clips))


def _built(stored: StoredVectors, ids_N: PositionArray) -> Base:
    """A new index of all clips."""
    plan = plan_index(len(ids_N))
    training_MD = stored.at(evenly(len(ids_N), most=faiss_base.training_size(plan)))
    index = faiss_base.new_index(plan, embed_dim=stored.embed_dim, training_MD=training_MD)
    del training_MD
    for _, vectors_ND in stored.chunks(_CHUNK_ROWS):
        faiss_base.add_rows(index, plan, vectors_ND)
    facts = BaseFacts(plan=plan, trained_clips=len(ids_N))
    return Base(index=index, ids_R=ids_N, sample_SD=_sample(stored), facts=facts)


def _merged(old: Base, stored: StoredVectors, ids_N: PositionArray) -> Base:
    """The old index without the clips that are gone and with those that came since; it is changed in place."""
    positions_R = positions_of(old.ids_R, ids_N)
    faiss_base.remove_rows(old.index, old.facts.plan, positions_R < 0)
    fresh_K = missing_from(positions_R, len(ids_N))
    for chunk_K in np.array_split(fresh_K, len(fresh_K) // _CHUNK_ROWS + 1):
        faiss_base.add_rows(old.index, old.facts.plan, stored.at(chunk_K, verified=True))
    ids_R = np.concatenate([old.ids_R[positions_R >= 0], ids_N[fresh_K]])
    return replace(old, ids_R=ids_R, sample_SD=_sample(stored))


def _sample(stored: StoredVectors) -> Float32Array:
    return stored.at(evenly(len(stored), most=SAMPLE_VECTORS))


def _tuned(base: Base, stored: StoredVectors, positions_R: PositionArray) -> BaseFacts:
    """Have just as many lists looked into as text-like queries need for the target recall."""
    plan = base.facts.plan
    if plan.exact:
        return base.facts
    part = IndexPart(base.index, plan, positions_R, stored)
    queries = {"clip": selfcheck.clip_like(base.sample_SD), "text-like": selfcheck.text_like(base.sample_SD)}
    truth_QK = dict(
        zip(queries, np.split(selfcheck.true_hits(stored, np.concatenate([*queries.values()])), 2), strict=True)
    )

    def recall(name: str, num_probes: int) -> float:
        def search(query_D: Float32Array) -> Hits:
            return part.search(query_D, k=selfcheck.DEPTH, num_probes=num_probes)

        return selfcheck.recall(search, queries[name], truth_QK[name])

    num_probes, found, before = _FEWEST_PROBES, recall("text-like", _FEWEST_PROBES), -math.inf
    while found < plan.target_recall and found - before >= _LEAST_GAIN and num_probes < plan.num_lists:
        num_probes, before = min(3 * num_probes // 2, plan.num_lists), found
        found = recall("text-like", num_probes)
    recalls = {"clip": recall("clip", num_probes), "text-like": found}
    return replace(base.facts, tuning=Tuning(num_probes=num_probes, recall_at_10=recalls))
