"""vlrlt on real video: what is indexed, what is found, and what run-length tokens cost and save there.

    python benchmarks/real_videos.py --videos DIR --weights DIR --out DIR [--json]

The folder --videos holds manifest.tsv (columns file, use, caption, duration_s, decoded_frames, dup_group, note) and the
files that it lists. The model is the bridge (see bridge.py). Parts, in this order:

    proof     the bridge's two halves against timm's own forward and the documented similarities of MiniLM
    index     every file of the manifest through index_paths, by name; what failed, beside what the manifest says of it
    floor     captions against the first 8 seconds of their videos, 1 frame per second: the protocol of the design
    library   the same captions through Library.search, dense and with run lengths; a video scores as its best clip
    clips     files as clip queries, with another file of the same scene to find
    curve     every clip under every token policy in one pass: quality against cost, with fewer frames and random drops
              of as many tokens as controls

Dense in the curve is frame by frame, as an image tower works, and so are its fewer frames; "policy none" is the same
through run_overlap, where all frames of a clip are one sequence. Times in the curve are CPU seconds of one thread, with
all ways taking turns on each batch of clips; compare them within one run only. --out keeps the libraries and the
curve's vectors: a second run does what is missing.

Shape legend: Q queries, V videos, N clips, B clips of a batch, T frames, D embedding.
"""

import argparse
import csv
import glob
import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from bridge import PREPROCESS, BridgeEmbedder, minilm_difference, timm_difference

from vlrlt.index.library.catalog import Catalog
from vlrlt.index.run.build import index_paths
from vlrlt.index.search.language import ClipQuery
from vlrlt.index.search.request import SearchRequest
from vlrlt.metrics import first_relevant_ranks, median_rank, recall_at_k
from vlrlt.progress import count_progress, index_progress
from vlrlt.service import Library
from vlrlt.tokens.run_length import DENSE, PAPER_THRESHOLD_255, TokenPolicy
from vlrlt.types import ClipEmbeddings, Float32Array, UInt8Array
from vlrlt.video.decode import open_decoder
from vlrlt.video.sampling import query_sampling
from vlrlt.video.worker import DecodeProcess

FLOOR = {"R@1": 0.280, "R@5": 0.475, "R@10": 0.610, "median_rank": 6.0}
FLOOR_TIMES_S = tuple(float(second) for second in range(8))
THRESHOLDS_255 = (PAPER_THRESHOLD_255, 10.0)
FIXED_NUM_FRAMES = (4, 2, 1)
_BATCH_CLIPS = 8
_ALL_MOMENTS = 1_000_000

Scores = dict[str, float]


@dataclass(frozen=True, kw_only=True)
class Source:
    """One line of the manifest."""

    path: Path
    caption: str
    """Empty: the file is no query."""
    scene: str
    """Files with the same scene show the same; a scene of one file is that file."""
    duration_s: float
    num_frames: int
    """Frames that the manifest's author could decode."""
    note: str


@dataclass(frozen=True, kw_only=True)
class Variant:
    """What one policy made of all clips of one file."""

    vectors_ND: Float32Array
    num_tokens: int
    cpu_s: float


def read_manifest(videos_dir: Path) -> list[Source]:
    """All files, those that could not be decoded too. Only captions of `use = yes` become queries."""
    with (videos_dir / "manifest.tsv").open(encoding="utf-8", newline="") as file:
        return [
            Source(
                path=videos_dir / row["file"],
                caption=row["caption"] if row["use"] == "yes" else "",
                scene=row["dup_group"] or row["file"],
                duration_s=float(row["duration_s"]),
                num_frames=int(row["decoded_frames"] or 0),
                note=row["note"],
            )
            for row in csv.DictReader(file, delimiter="\t")
        ]


def same_scene(queries: Sequence[Source], candidates: Sequence[Source]) -> npt.NDArray[np.bool_]:
    """(Q, V): what counts as found."""
    return np.array([[query.scene == candidate.scene for candidate in candidates] for query in queries])


def score(similarity_QV: Float32Array, queries: Sequence[Source], candidates: Sequence[Source]) -> Scores:
    """Recall and median rank of the first file of the query's scene."""
    ranks_Q = first_relevant_ranks(similarity_QV, same_scene(queries, candidates))
    recalls = {f"R@{k}": recall_at_k(ranks_Q, k=k) for k in (1, 5, 10)}
    return {**recalls, "median_rank": median_rank(ranks_Q), "queries": len(queries), "videos": len(candidates)}


def best_clip(similarity_QN: Float32Array, num_clips_V: Sequence[int]) -> Float32Array:
    """(Q, V): every video scores as its best clip."""
    return np.maximum.reduceat(similarity_QN, np.cumsum([0, *num_clips_V[:-1]]), axis=1)


# proof


def prove_bridge(weights_dir: Path, picture: Source) -> dict[str, float]:
    """Largest differences to timm's logits (around 10) and to MiniLM's documented similarities (4 decimals)."""
    with open_decoder(picture.path) as decoder:
        rgb_HWC = PREPROCESS(next(iter(decoder.frames_at([0.0]))).rgb_HWC)
    proof = {"timm": timm_difference(weights_dir, rgb_HWC), "minilm": minilm_difference()}
    print(f"bridge: largest difference to timm's logits {proof['timm']:.1e}, to MiniLM's documentation ", end="")
    print(f"{proof['minilm']:.1e}")
    if proof["timm"] > 1e-3 or proof["minilm"] > 1e-4:
        raise SystemExit("the bridge is not the model that it should be")
    return proof


# index


def audit(sources: Sequence[Source], library_dir: Path) -> dict[str, Any]:
    """What became of every file, and where that disagrees with the manifest."""
    counts: dict[str, int] = {}
    disagreements = []
    with Catalog.open_reader(library_dir) as catalog:
        for source in sources:
            video = catalog.video_at(source.path.resolve())
            state = "not listed" if video is None else video.state
            counts[state] = counts.get(state, 0) + 1
            name = f"{source.path.parent.name}/{source.path.name}"
            if state != "indexed":
                reason = "" if video is None else f"cannot {video.stage}: {video.reason}"
                print(f"    {state:8} {name}\n             {reason}\n             manifest: {source.note}")
            if (state in ("indexed", "partial")) != (source.num_frames > 0):
                disagreements.append(f"{name}: {state}, {source.num_frames} frames in the manifest")
            if video is not None and state == "indexed" and abs((video.duration_s or 0) - source.duration_s) > 0.1:
                disagreements.append(f"{name}: {video.duration_s:.3f} s, {source.duration_s} s in the manifest")
    print(f"  {len(sources)} files: {counts}; {len(disagreements)} disagree with the manifest")
    for line in disagreements:
        print(f"    {line}")
    return {"files": len(sources), "states": counts, "disagreements": disagreements}


# floor


def measure_floor(sources: Sequence[Source], embedder: BridgeEmbedder) -> tuple[Scores, list[Source]]:
    """Captions against their own videos; also the files of this protocol: those with two frames or more."""
    used, vectors = [], []
    with count_progress("videos of the floor") as show:
        for number, source in enumerate(sources):
            show(number, len(sources))
            with open_decoder(source.path) as decoder:
                times_s = [time_s for time_s in FLOOR_TIMES_S if time_s < decoder.info.duration_s]
                frames = [PREPROCESS(frame.rgb_HWC) for frame in decoder.frames_at(times_s)]
            if len(frames) > 1:
                used.append(source)
                vectors.append(embedder.embed_frame_by_frame(np.stack(frames)[None]).vectors_BD[0])
    texts_QD = embedder.embed_texts([source.caption for source in used])
    return score(texts_QD @ np.stack(vectors).T, used, used), used


# library


def ask(
    service: Library, request: SearchRequest, candidates: Sequence[Source], *, exclude: Path | None = None
) -> Float32Array:
    """(V,): score of each file's best moment for what is to be found."""
    not_paths = () if exclude is None else (glob.escape(os.path.realpath(exclude)),)
    result = service.search(request.replaced(not_paths=not_paths, per_video=None, tail=True, k=_ALL_MOMENTS))
    best: dict[str, float] = {}
    for moment in result.hits:
        best.setdefault(moment.video, moment.score)
    return np.array([best.get(str(source.path.resolve()), -1.0) for source in candidates], np.float32)


def search_captions(service: Library, queries: Sequence[Source], searchable: Sequence[Source]) -> dict[str, Scores]:
    """Captions through the service, against all files and against those of the floor only."""
    similarity_QV = np.stack([ask(service, SearchRequest(text=(query.caption,)), searchable) for query in queries])
    columns = [searchable.index(query) for query in queries]
    return {
        "all files": score(similarity_QV, queries, searchable),
        "files of the floor": score(similarity_QV[:, columns], queries, queries),
    }


# clips


def search_clips(service: Library, searchable: Sequence[Source]) -> dict[str, Any]:
    """Every file whose scene another file shows, as a clip query; does one of those come first?"""
    answers = []
    for source in searchable:
        others = [other for other in searchable if other != source]
        found_1V = same_scene([source], others)
        if found_1V.any():
            request = SearchRequest(clips=(ClipQuery(source.path),))
            score_V = ask(service, request, others, exclude=source.path)
            rank = int(first_relevant_ranks(score_V[None], found_1V)[0])
            first = others[int(score_V.argmax())].path.name
            answers.append({"scene": source.scene, "query": source.path.name, "rank": rank, "first": first})
    hits = sum(answer["rank"] == 1 for answer in answers)
    print(f"clip queries: another file of the scene comes first for {hits} of {len(answers)}")
    for answer in answers:
        print("  {scene:16} rank {rank:2}  {query} -> {first}".format(**answer))
    return {"hits": hits, "queries": len(answers), "answers": answers}


# curve


def encode_variants(rgb_BTHWC: UInt8Array, embedder: BridgeEmbedder) -> dict[str, Variant]:
    """One batch in every way; both controls get as many tokens as the run lengths before them left."""
    num_frames = rgb_BTHWC.shape[1]
    encoded: dict[str, Variant] = {}

    def encode(name: str, embed: Callable[[], ClipEmbeddings]) -> Variant:
        started_s = time.process_time()
        embeddings = embed()
        cpu_s = time.process_time() - started_s
        num_tokens = int(embeddings.num_tokens_B.sum())
        encoded[name] = Variant(vectors_ND=embeddings.vectors_BD, num_tokens=num_tokens, cpu_s=cpu_s)
        return encoded[name]

    def encode_policy(name: str, policy: TokenPolicy) -> Variant:
        return encode(name, lambda: embedder.embed_with(rgb_BTHWC, policy))

    def encode_frames(name: str, num_kept: int) -> Variant:
        kept_T = ((np.arange(num_kept) + 0.5) * num_frames / num_kept).astype(int)
        return encode(name, lambda: embedder.embed_frame_by_frame(rgb_BTHWC[:, kept_T]))

    dense = encode_frames("dense", num_frames)
    encode_policy("dense, policy none", DENSE)
    for threshold_255 in THRESHOLDS_255:
        runs = encode_policy(f"run lengths {threshold_255:g}", TokenPolicy(threshold_255=threshold_255))
        budget_tokens = round(runs.num_tokens / len(rgb_BTHWC))
        encode_policy(f"random as {threshold_255:g}", TokenPolicy(kind="random", budget_tokens=budget_tokens))
        encode_frames(f"fewer frames as {threshold_255:g}", round(num_frames * runs.num_tokens / dense.num_tokens))
    for num_kept in FIXED_NUM_FRAMES:
        encode_frames(f"{num_kept} of {num_frames} frames", num_kept)
    return encoded


def encode_file(source: Source, decoder: DecodeProcess, embedder: BridgeEmbedder) -> dict[str, Variant]:
    """All clips of a file, as the index cuts them."""
    video = decoder.clips(source.path, sampling=query_sampling(embedder.sampling), preprocess=embedder.preprocess)
    rgb_NTHWC = np.stack([clip.rgb_THWC for clip in video])
    batches = [
        encode_variants(rgb_NTHWC[start : start + _BATCH_CLIPS], embedder)
        for start in range(0, len(rgb_NTHWC), _BATCH_CLIPS)
    ]
    return {
        name: Variant(
            vectors_ND=np.concatenate([batch[name].vectors_ND for batch in batches]),
            num_tokens=sum(batch[name].num_tokens for batch in batches),
            cpu_s=sum(batch[name].cpu_s for batch in batches),
        )
        for name in batches[0]
    }


def encode_all(sources: Sequence[Source], embedder: BridgeEmbedder, folder: Path) -> list[dict[str, Variant]]:
    """Every file's variants, from the folder where an earlier run left them."""
    folder.mkdir(exist_ok=True)
    files = []
    with count_progress("files of the curve") as show, DecodeProcess() as decoder:
        for number, source in enumerate(sources):
            show(number, len(sources))
            kept = folder / f"{source.path.parent.name}+{source.path.name}.npz"
            if not kept.exists():
                variants = encode_file(source, decoder, embedder)
                fields = {f"{name}/{key}": value for name, v in variants.items() for key, value in vars(v).items()}
                partial = kept.with_suffix(".tmp.npz")
                np.savez(partial, allow_pickle=False, **fields)
                partial.rename(kept)
            files.append(_read_variants(kept))
    return files


def _read_variants(path: Path) -> dict[str, Variant]:
    with np.load(path) as arrays:
        names = dict.fromkeys(key.partition("/")[0] for key in arrays)
        return {
            name: Variant(
                vectors_ND=arrays[f"{name}/vectors_ND"],
                num_tokens=int(arrays[f"{name}/num_tokens"]),
                cpu_s=float(arrays[f"{name}/cpu_s"]),
            )
            for name in names
        }


def measure_curve(
    files: Sequence[dict[str, Variant]], searchable: Sequence[Source], queries: Sequence[Source], texts_QD: Float32Array
) -> dict[str, Scores]:
    """Quality and cost of every variant over the whole library."""
    dense_ND = np.concatenate([file["dense"].vectors_ND for file in files])
    num_clips_V = [len(file["dense"].vectors_ND) for file in files]
    totals = {name: (sum(f[name].num_tokens for f in files), sum(f[name].cpu_s for f in files)) for name in files[0]}
    curve = {}
    for name, (num_tokens, cpu_s) in totals.items():
        vectors_ND = np.concatenate([file[name].vectors_ND for file in files])
        cosine_N = (vectors_ND * dense_ND).sum(1)
        curve[name] = {
            "tokens_kept": num_tokens / totals["dense"][0],
            "cpu_s": cpu_s,
            "time": cpu_s / totals["dense"][1],
            "cosine": float(cosine_N.mean()),
            "cosine_p10": float(np.quantile(cosine_N, 0.1)),
            **score(best_clip(texts_QD @ vectors_ND.T, num_clips_V), queries, searchable),
        }
    return curve


# report


def print_table(rows: dict[str, Scores], title: str) -> None:
    """One line for each row; shares and times to three decimals."""
    columns = list(next(iter(rows.values())))
    width = max(map(len, (title, *rows)))
    print(f"{title:{width}}", *(f"{column:>11}" for column in columns))
    for name, row in rows.items():
        cells = (f"{row[column]:11d}" if isinstance(row[column], int) else f"{row[column]:11.3f}" for column in columns)
        print(f"{name:{width}}", *cells)


def measure_library(
    name: str, embedder: BridgeEmbedder, sources: Sequence[Source], queries: Sequence[Source], out: Path
) -> tuple[dict[str, Any], list[Source]]:
    """Index all files and ask for them; also the files that became searchable."""
    library_dir = out / f"library-{name.replace(' ', '-')}"
    with index_progress() as show:  # all files by name, so that no suffix is passed over
        paths = [source.path for source in sources]
        report = index_paths(paths, library_dir=library_dir, embedder=embedder, on_progress=show)
    print(f"\nlibrary {name}: {report.as_text().splitlines()[0]}")
    if report.indexed:
        print(f"  decoding {report.decode_s:.1f} s, encoding {report.encode_s:.1f} s, ", end="")
        print(f"tokens kept {report.tokens / report.dense_tokens:.3f}")
    figures: dict[str, Any] = {"index": report.as_json(), "audit": audit(sources, library_dir)}
    with Catalog.open_reader(library_dir) as catalog:
        videos = set(catalog.snapshot().frame_runs.videos)
    searchable = [source for source in sources if str(source.path.resolve()) in videos]
    with Library(library_dir, model=embedder) as service:
        figures["captions"] = search_captions(service, queries, searchable)
        print_table(figures["captions"], f"library {name}")
        figures["clips"] = search_clips(service, searchable)
    return figures, searchable


def main() -> None:
    """Run every part."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--videos", type=Path, required=True, help="folder with manifest.tsv")
    parser.add_argument("--weights", type=Path, required=True, help="folder with the ImageNet weights and labels")
    parser.add_argument("--out", type=Path, required=True, help="gets the libraries and the curve's vectors")
    parser.add_argument("--json", action="store_true", help="print all figures as one last line of JSON")
    args = parser.parse_args()
    torch.set_num_threads(1)
    args.out.mkdir(parents=True, exist_ok=True)
    sources = read_manifest(args.videos)
    captioned = [source for source in sources if source.caption]
    proof = prove_bridge(args.weights, captioned[0])

    dense = BridgeEmbedder(args.weights)
    floor, queries = measure_floor(captioned, dense)
    print_table({"measured": floor, "design": {**floor, **FLOOR}}, "floor")

    dense_library, searchable = measure_library("dense", dense, sources, queries, args.out)
    run_lengths = BridgeEmbedder(args.weights, policy=TokenPolicy())
    run_length_library, _ = measure_library("run lengths", run_lengths, sources, queries, args.out)

    files = encode_all(searchable, dense, args.out / "curve")
    texts_QD = dense.embed_texts([query.caption for query in queries])
    curve = measure_curve(files, searchable, queries, texts_QD)
    print()
    print_table(curve, "curve")
    if args.json:
        libraries = {"library_dense": dense_library, "library_run_lengths": run_length_library}
        print(json.dumps({"proof": proof, "floor": floor, **libraries, "curve": curve}))


if __name__ == "__main__":
    main()
