"""The parts of training by themselves: augment params, batches, learning rates, cached gradients, other weights."""

import pickle
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from towers import INFERENCE, TINY, TINY_RUN_OVERLAP, TINY_TEXT, half_static_clips, tiny_dual

from vlrlt.datasets.base import CaptionedSpan
from vlrlt.datasets.caption_file import CaptionFile
from vlrlt.datasets.epic import EpicData
from vlrlt.datasets.relevancy import Action, ActionTable
from vlrlt.embed import load_embedder
from vlrlt.errors import AnnotationError, ConfigError
from vlrlt.models.adapt import adapt_video_weights
from vlrlt.models.checkpoint import save_checkpoint
from vlrlt.models.video_encoder import VideoEncoder
from vlrlt.models.weights import load_weights
from vlrlt.tokens.run_length import DENSE, TokenPolicy
from vlrlt.train.augment import Augmentation, AugmentParams, cut_clips, draw_augment_params, draw_times
from vlrlt.train.clips import NO_ACTION, SpanClips, collate
from vlrlt.train.datamodule import ClipDataModule
from vlrlt.train.frames import CachedFrames, DecodedFrames
from vlrlt.train.gradcache import chunks_by_tokens, encode_in_chunks
from vlrlt.train.mixing import PolicyMix
from vlrlt.train.optim import Optimization, parameter_groups, warmup_cosine
from vlrlt.train.sampler import BatchSampler, DistinctActions, Draw, MicroBatches, Scenes, Share, Shuffled
from vlrlt.train.towers import build_model, lock_towers
from vlrlt.types import ClipSpan
from vlrlt.video.decode import open_decoder
from vlrlt.video.sampling import frame_times


@pytest.fixture
def data(toy_data: Path, tmp_path: Path) -> ClipDataModule:
    return ClipDataModule(
        dataset=EpicData(toy_data), cache_dir=tmp_path / "cache", batch_size=6, batches="distinct_actions",
        num_batches=2, num_workers=0, num_frames=4, image_size_px=32,
    )  # fmt: skip


def span(number: int, verb: int, noun: int) -> CaptionedSpan:
    return CaptionedSpan(
        span_id=str(number), video_id="v", start_s=0.0, stop_s=1.0, caption=f"{verb} {noun}",
        action=Action.of(verb, (noun,)), group="g",
    )  # fmt: skip


# data


def test_split_by_group_and_never_the_test_split(data: ClipDataModule) -> None:
    data.setup("fit")
    train, val = data.train_clips.spans, data.val_clips.spans
    assert train
    assert val
    assert not {s.group for s in train} & {s.group for s in val}
    assert {s.span_id for s in (*train, *val)} == {s.span_id for s in data.dataset.spans("train")}


def test_too_few_groups_for_a_validation_split(data: ClipDataModule) -> None:
    data.val_share = 1.0
    with pytest.raises(ConfigError, match=r"cannot be divided into training and validation; make more videos"):
        data.setup("fit")
    data.val_share = 0.0
    data.setup("fit")
    assert len(data.train_clips) == len(data.dataset.spans("train"))
    assert data.val_dataloader() == []


def test_a_bad_validation_file_is_no_missing_one(toy_data: Path, tmp_path: Path) -> None:
    """It must not be answered by dividing the training split instead."""
    (tmp_path / "train.csv").write_text("video,start_s,end_s,caption\na,0,1,x\nb,0,1,y\n")
    (tmp_path / "val.csv").write_text("video,start_s,end_s,caption\na,3,1,x\n")
    dataset = CaptionFile(toy_data, train_file=tmp_path / "train.csv", val_file=tmp_path / "val.csv")
    with pytest.raises(AnnotationError, match=r"val\.csv:2: end_s is '1'"):
        ClipDataModule(dataset=dataset).setup("fit")


def test_a_clip_shows_the_frames_of_its_span_cached_or_decoded(data: ClipDataModule) -> None:
    """Without augmentation a clip equals decoding the span's own times by hand."""
    data.setup("fit")
    cached = data.train_clips[Draw(3, None)]
    data.cache_dir = None
    data.setup("fit")
    decoded = data.train_clips[Draw(3, None)]
    chosen = data.train_clips.spans[3]
    assert cached.caption == decoded.caption == chosen.caption
    assert chosen.stop_s is not None
    with open_decoder(data.dataset.video_path(chosen.video_id)) as decoder:
        times_s = frame_times(ClipSpan(chosen.start_s, chosen.stop_s), 4)
        frames = [frame.rgb_HWC for frame in decoder.frames_at(times_s)]
    from PIL import Image

    for sample in (cached, decoded):
        for got_HWC, frame_HWC in zip(sample.rgb_THWC.numpy(), frames, strict=True):
            small_HWC = np.asarray(Image.fromarray(frame_HWC).resize((43, 32), Image.Resampling.BICUBIC))
            assert np.abs(got_HWC.astype(int) - small_HWC).mean() < 2.0  # decord and PyAV convert colours a hair apart


def test_the_cache_follows_the_file(toy_data: Path, tmp_path: Path) -> None:
    first, second, *_ = sorted((toy_data / "videos").iterdir())
    video = tmp_path / "video.mp4"
    video.write_bytes(first.read_bytes())
    before = CachedFrames(tmp_path / "cache", short_side_px=32, backend="pyav").video(video)[1]
    again = CachedFrames(tmp_path / "cache", short_side_px=32, backend="pyav").video(video)[1]
    assert np.array_equal(before, again)
    assert len(list((tmp_path / "cache").iterdir())) == 2
    video.write_bytes(second.read_bytes())
    after = CachedFrames(tmp_path / "cache", short_side_px=32, backend="pyav").video(video)[1]
    assert len(after) != len(before)


def test_a_look_depends_on_its_seed_only(data: ClipDataModule) -> None:
    data.setup("fit")
    clips = data.train_clips
    first, again, other = clips[Draw(0, 7)], clips[Draw(0, 7)], clips[Draw(0, 8)]
    assert torch.equal(first.rgb_THWC, again.rgb_THWC)
    assert first.augment_params == again.augment_params
    assert first.augment_params != other.augment_params
    in_worker = pickle.loads(pickle.dumps(clips))
    assert not hasattr(in_worker, "spans")  # they are there as tensors, which processes share
    assert torch.equal(in_worker[Draw(0, 7)].rgb_THWC, first.rgb_THWC)
    assert in_worker[Draw(0, 7)].caption == first.caption == clips.spans[0].caption


def test_positive_captions_are_drawn_by_relevancy(toy_data: Path) -> None:
    spans = EpicData(toy_data).spans("train")
    table = ActionTable(s.action for s in spans)
    path = EpicData(toy_data).video_path(spans[0].video_id)
    clips = SpanClips(
        spans, paths={s.video_id: path for s in spans}, table=table, num_frames=2, augmentation=Augmentation(),
        source=DecodedFrames(short_side_px=32, backend="pyav"), positive_relevancy=0.4,
    )  # fmt: skip
    drawn = [clips[Draw(0, seed)] for seed in range(12)]
    relevancies = table.relevancy(np.array([drawn[0].clip_action]), np.array([s.text_action for s in drawn]))[0]
    assert (relevancies > 0.4).all()
    assert len({s.caption for s in drawn}) > 1
    for sample in drawn:
        assert table.index([s.action for s in spans if s.caption == sample.caption])[0] == sample.text_action


# looks


def test_a_cut_equals_torchvision_and_is_the_same_for_every_frame() -> None:
    from torchvision.transforms.v2 import functional as reference  # type: ignore[import-untyped]

    rgb_THWC = torch.randint(0, 256, (1, 40, 60, 3), dtype=torch.uint8).expand(3, -1, -1, -1)
    augment_params = AugmentParams(area=0.5, ratio=1.2, left=0.3, top=0.8)
    top, left, height, width = augment_params.box(40, 60)
    assert height * width == pytest.approx(0.5 * 40 * 60, rel=0.05)
    assert width / height == pytest.approx(1.2, rel=0.05)
    (got_THWC,) = cut_clips([rgb_THWC], [augment_params], size_px=16)
    want = reference.resized_crop(rgb_THWC.permute(0, 3, 1, 2), top, left, height, width, [16, 16], antialias=True)
    assert (got_THWC.int() - want.permute(0, 2, 3, 1).int()).abs().max() <= 1
    assert all(torch.equal(frame, got_THWC[0]) for frame in got_THWC)
    brighter = cut_clips([rgb_THWC], [AugmentParams(brightness=0.2)], size_px=40)
    assert brighter.float().mean() > rgb_THWC.float().mean() + 10


def test_looks_stay_inside_the_picture() -> None:
    random = np.random.default_rng(0)
    for _ in range(200):
        augment_params = draw_augment_params(Augmentation(crop_area=(0.1, 1.0), crop_ratio=(0.3, 3.0)), random)
        top, left, height, width = augment_params.box(30, 70)
        assert top >= 0
        assert left >= 0
        assert 0 < height <= 30 - top
        assert 0 < width <= 70 - left
    assert AugmentParams().box(30, 70) == (0, 20, 30, 30)


def test_segment_jitter_draws_one_time_in_each_segment() -> None:
    augmentation = Augmentation(span_jitter_s=0.0, segment_jitter=True)
    drawn = [draw_times(ClipSpan(2.0, 10.0), 4, augmentation, np.random.default_rng(seed)) for seed in range(50)]
    for times_T in drawn:
        assert np.array_equal((times_T - 2) // 2, np.arange(4))
    assert np.std([times_T[0] for times_T in drawn]) > 0.3
    still = draw_times(ClipSpan(2.0, 10.0), 4, Augmentation(span_jitter_s=0.0), np.random.default_rng(0))
    assert np.allclose(still, frame_times(ClipSpan(2.0, 10.0), 4))


def test_a_window_shows_a_span_as_a_library_would() -> None:
    """Windows of 2 s whose middle lies in the span, beside looks at the span itself."""
    augmentation = Augmentation(span_jitter_s=0.0, window_share=0.5, window_s=2.0)
    drawn = [draw_times(ClipSpan(0.5, 6.5), 4, augmentation, np.random.default_rng(seed)) for seed in range(200)]
    windows = [times_T for times_T in drawn if np.allclose(np.diff(times_T), 0.5)]
    spans = [times_T for times_T in drawn if np.allclose(times_T, frame_times(ClipSpan(0.5, 6.5), 4))]
    assert len(windows) + len(spans) == 200
    assert 70 < len(windows) < 130
    middles_s = np.array([times_T.mean() for times_T in windows])
    assert middles_s.min() == 1.0  # no window begins before the video does
    assert 6.0 < middles_s.max() <= 6.5
    with pytest.raises(ConfigError, match=r"window_share must be in \[0, 1\] and window_s > 0, got 2.0 and 1.0"):
        Augmentation(window_share=2.0, window_s=1.0)


def test_each_frame_knows_what_it_shows(toy_data: Path) -> None:
    """Its own action inside the span; before and after it another action of the video, or none."""
    spans = [
        replace(span(number, number, number), video_id="P01_01", start_s=start_s, stop_s=stop_s)
        for number, (start_s, stop_s) in enumerate([(1.0, 2.0), (2.0, 2.5), (3.0, 4.0), (0.0, 9.0)])
    ]
    spans[3] = replace(spans[3], video_id="P02_01")  # of another video: it is never shown
    table = ActionTable(one.action for one in spans)
    clips = SpanClips(
        spans,
        paths={video_id: toy_data / "videos" / f"{video_id}.mp4" for video_id in ("P01_01", "P02_01")},
        table=table,
        source=DecodedFrames(short_side_px=32, backend="pyav"),
        num_frames=16,
        augmentation=Augmentation(window_share=1.0, window_s=4.0),
    )
    actions = table.index([one.action for one in spans])
    seen = set()
    for seed in range(5):
        window = draw_times(ClipSpan(1.0, 2.0), 16, clips._augmentation, np.random.default_rng(seed))
        shown = clips[Draw(0, seed)].shown_T.tolist()
        for time_s, action in zip(window, shown, strict=True):
            inside = [number for number in range(3) if _lies_in(time_s, spans[number])]
            assert action == (actions[inside[0]] if inside else NO_ACTION)
        seen |= set(shown)
    assert seen == {*actions[:3].tolist(), NO_ACTION}
    assert set(clips[Draw(0, None)].shown_T.tolist()) == {actions[0]}


def _lies_in(time_s: float, one: CaptionedSpan) -> bool:
    return one.stop_s is not None and one.start_s <= time_s < one.stop_s


# policies


def test_a_policy_mix_is_dense_or_a_random_threshold() -> None:
    policy = TokenPolicy(reference="carried", threshold_255=10)
    mix = PolicyMix(dense_share=0.25, threshold_255=(2.0, 32.0))
    drawn = [mix.draw(policy, np.random.default_rng(seed)) for seed in range(400)]
    assert 70 < drawn.count(DENSE) < 130
    thresholds = [one.threshold_255 for one in drawn if one != DENSE]
    assert 2.0 <= min(thresholds) < 2.5
    assert 26.0 < max(thresholds) <= 32.0
    assert 110 < sum(threshold < 8.0 for threshold in thresholds) < 190  # half of them: 8 is the middle of 2 and 32
    assert {replace(one, threshold_255=10.0) for one in drawn if one != DENSE} == {policy}
    assert PolicyMix(dense_share=0.0).draw(DENSE, np.random.default_rng(0)).kind == "threshold"


@pytest.mark.parametrize("change", [{"dense_share": 1.5}, {"threshold_255": (5.0, 2.0)}, {"threshold_255": (0.0, 2.0)}])
def test_a_policy_mix_out_of_range_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"needs dense_share in \[0, 1\] and thresholds ascending in \(0, 255\]"):
        PolicyMix(**change)


# batches


def test_batches_hold_distinct_actions_and_all_verbs_of_a_noun(toy_data: Path) -> None:
    spans = EpicData(toy_data).spans("train")
    num_actions = len({s.action for s in spans})
    sampler = DistinctActions(spans, batch_size=10**6, num_batches=3, seed=4)
    assert [len(batch) for batch in sampler] == [num_actions] * 3
    sampler = DistinctActions(spans, batch_size=8, num_batches=5, seed=4)
    verbs_by_noun = Counter(action.nouns for action in {s.action for s in spans})
    for batch in sampler:
        actions = [spans[draw.index].action for draw in batch]
        assert len(set(actions)) == len(actions) == 8
        nouns = list(dict.fromkeys(action.nouns for action in actions))
        for noun in nouns[:-1]:  # the last noun may be cut by the batch size
            assert sum(action[1] == noun for action in actions) == verbs_by_noun[noun]


@pytest.mark.parametrize("kind", [DistinctActions, Shuffled, partial(Scenes, scene_s=0.5)])
def test_batches_follow_from_seed_epoch_and_place(kind: Callable[..., BatchSampler]) -> None:
    spans = [span(number, number % 3, number // 3) for number in range(24)]
    options = {"batch_size": 6, "seed": 1} | ({"num_batches": 4} if kind is DistinctActions else {})
    first = list(kind(spans, **options))
    assert len(first) == (4 if not isinstance(kind, partial) else 8)
    assert list(kind(spans, **options)) == first
    resumed = kind(spans, **options, first_batch=lambda: 3)
    assert list(resumed) == first[3:]
    shares = [list(kind(spans, **options, share=Share(rank, 2))) for rank in (0, 1)]
    for whole, even, odd in zip(first, *shares, strict=True):
        assert whole[::2] == even
        assert whole[1::2] == odd
    sampler = kind(spans, **options)
    sampler.set_epoch(1)
    assert list(sampler) != first
    half = MicroBatches(kind(spans, **options, share=Share(1, 2)), size=2)
    assert half.per_batch == 2  # a batch of 6 is 3 draws here: two and one
    assert [len(part) for part in half] == [2, 1] * len(first)
    assert [draw for part in half for draw in part] == [draw for batch in shares[1] for draw in batch]
    with pytest.raises(ConfigError, match="must be a multiple of their number, got 6 and 4"):
        Shuffled(spans, batch_size=6, seed=1, share=Share(0, 4))


def test_shuffled_batches_hold_every_span_once() -> None:
    spans = [span(number, 0, number) for number in range(10)]
    drawn = [draw.index for batch in Shuffled(spans, batch_size=5, seed=3) for draw in batch]
    assert sorted(drawn) == list(range(10))
    with pytest.raises(ConfigError, match="10 training spans do not fill one batch of 11"):
        Shuffled(spans, batch_size=11, seed=3)


def test_half_a_batch_of_scenes_are_neighbours(tmp_path: Path) -> None:
    def clip(number: int, video: str, middle_s: float) -> CaptionedSpan:
        return replace(span(number, 0, number), video_id=video, start_s=middle_s - 0.5, stop_s=middle_s + 0.5)

    times = [("a", 10.0), ("a", 59.4), ("a", 59.8), ("a", 60.2), ("a", 100.0), ("b", 10.0), ("b", 20.0), ("c", 5.0)]
    spans = [clip(number, video, middle_s) for number, (video, middle_s) in enumerate(times)]
    sampler = Scenes(spans, batch_size=4, scene_s=60, seed=1)
    neighbours: dict[int, set[int]] = {}
    for epoch in range(40):
        batches = [sampler.batch(epoch, number) for number in range(len(sampler))]
        assert sorted(anchor for batch in batches for anchor in batch[:2]) == list(range(8))
        for batch in batches:
            for anchor, neighbour in zip(batch[:2], batch[2:], strict=True):
                neighbours.setdefault(anchor, set()).add(neighbour)
    assert {anchor: neighbours[anchor] for anchor in range(7)} == {
        0: {1, 2}, 1: {0, 2}, 2: {0, 1}, 3: {4}, 4: {3}, 5: {6}, 6: {5}
    }  # fmt: skip
    assert len(neighbours[7]) > 3  # it is alone
    with pytest.raises(ConfigError, match="batch_size must be even, got 3"):
        Scenes(spans, batch_size=3, scene_s=60, seed=1)


def test_clips_of_any_size_make_a_batch(data: ClipDataModule) -> None:
    data.setup("fit")
    batch = collate([data.train_clips[Draw(index, None)] for index in (0, 1, 0)])
    on_device = data.on_after_batch_transfer(batch.to(torch.device("cpu")), 0)
    assert on_device.rgb_BTHWC is not None
    assert on_device.rgb_BTHWC.shape == (3, 4, 32, 32, 3)
    assert batch.clip_action_B[0] == batch.clip_action_B[2] == batch.text_action_B[0]


# optimisation


def test_learning_rate_rises_then_falls() -> None:
    factors = [warmup_cosine(step, num_warmup=5, num_steps=50, final_share=0.1) for step in range(51)]
    assert factors[4] == 1.0
    assert factors[:5] == sorted(factors[:5])
    assert factors[5:] == sorted(factors[5:], reverse=True)
    assert factors[50] == pytest.approx(0.1)
    assert warmup_cosine(0, num_warmup=1, num_steps=1) == 1.0


def test_layer_decay_is_applied_to_every_parameter_once() -> None:
    dual = tiny_dual()
    config = Optimization(learning_rate=1.0, layer_decay=0.5, weight_decay=0.1)
    groups = parameter_groups((dual.video, dual.text), (dual.logit_scale,), config)
    rates = {id(p): (group["lr"], group["weight_decay"]) for group in groups for p in group["params"]}
    assert len(rates) == sum(len(group["params"]) for group in groups) == len(list(dual.parameters()))
    video, text = dict(dual.video.named_parameters()), dict(dual.text.named_parameters())
    assert rates[id(video["projection"])] == (1.0, 0.1)
    assert rates[id(video["norm_post.weight"])] == (1.0, 0.0)
    assert rates[id(video["blocks.1.mlp.0.weight"])] == (0.5, 0.1)
    assert rates[id(video["blocks.0.mlp.0.weight"])] == (0.25, 0.1)
    assert rates[id(video["patch_embedding.weight"])] == (0.125, 0.0)
    assert rates[id(video["position_embedding"])] == (0.125, 0.0)
    assert rates[id(text["blocks.layers.0.linear1.weight"])] == (0.5, 0.1)
    assert rates[id(text["token_embedding.weight"])] == (0.25, 0.0)
    assert rates[id(dual.logit_scale)] == (1.0, 0.0)


def test_chunked_encoding_has_the_gradients_of_one_batch() -> None:
    dual = tiny_dual().double().train()
    rgb_BTHWC = torch.from_numpy(half_static_clips(5))

    def gradients(chunks: list[list[int]] | None) -> list[torch.Tensor]:
        dual.zero_grad()
        encode = dual.encode_video
        vectors_BE = encode(rgb_BTHWC) if chunks is None else encode_in_chunks(encode, rgb_BTHWC, chunks)
        torch.logsumexp(20 * vectors_BE @ vectors_BE.T, 1).sum().backward()  # type: ignore[no-untyped-call]
        return [p.grad.clone() for p in dual.video.parameters() if p.grad is not None]

    whole = gradients(None)
    for chunks in ([[4], [0, 2], [3, 1]], [[0, 1, 2, 3, 4]]):
        for a, b in zip(gradients(chunks), whole, strict=True):
            assert torch.allclose(a, b, atol=1e-10)


def test_chunks_respect_the_budget_and_hold_every_clip_once() -> None:
    counts = [5, 30, 1, 12, 12, 100]
    chunks = chunks_by_tokens(counts, 40)
    assert sorted(index for chunk in chunks for index in chunk) == list(range(6))
    assert chunks[0] == [5]
    assert all(sum(counts[index] for index in chunk) <= 40 for chunk in chunks[1:])


# towers


def test_an_image_tower_becomes_a_joint_encoder_that_sees_one_frame_as_before() -> None:
    """From run_overlap to joint: new tables are zero, so a clip of one frame is the image it was."""
    torch.manual_seed(0)
    mean, std = INFERENCE.preprocess.mean, INFERENCE.preprocess.std
    source = tiny_dual(TINY_RUN_OVERLAP).video
    joint = replace(TINY_RUN_OVERLAP, regime="joint", num_frames=6, temporal_embedding=True, run_length_embedding=True)
    target = VideoEncoder(joint, mean=mean, std=std).eval()
    load_weights(target, adapt_video_weights(source, target), source="test")
    rgb_BTHWC = torch.from_numpy(half_static_clips(2, num_frames=1))
    image_BE = torch.nn.functional.normalize(target(rgb_BTHWC, DENSE).clip_BE, dim=-1)
    torch.testing.assert_close(image_BE, source(rgb_BTHWC, DENSE).clip_BE, rtol=1e-4, atol=1e-5)


def test_temporal_embeddings_are_interpolated_or_cut_and_tubelets_share_the_patch_weights() -> None:
    mean, std = INFERENCE.preprocess.mean, INFERENCE.preprocess.std
    source = tiny_dual().video  # two steps
    longer = VideoEncoder(replace(TINY, num_frames=8), mean=mean, std=std)
    weights = adapt_video_weights(source, longer)
    table = weights["temporal_embedding"]
    assert table.shape == (4, 16)
    assert torch.allclose(table[0], source.temporal_embedding[0])  # type: ignore[index]
    assert torch.allclose(table[1], 0.75 * source.temporal_embedding[0] + 0.25 * source.temporal_embedding[1])  # type: ignore[index]
    back = adapt_video_weights(longer, source)["temporal_embedding"]
    assert torch.equal(back, longer.temporal_embedding[:2])  # type: ignore[index]
    flat = tiny_dual(replace(TINY, tubelet_size=1, num_frames=2)).video
    doubled = adapt_video_weights(flat, source)["patch_embedding.weight"]
    still = torch.rand(3, flat.patch_embedding.in_features)
    torch.testing.assert_close(still.repeat(1, 2) @ doubled.T, still @ flat.patch_embedding.weight.T)


def test_a_model_takes_more_frames_than_it_was_trained_with(tmp_path: Path) -> None:
    """AVION does so from 4 to 16 frames; a clip that stands still looks the same to an encoder without times."""
    save_checkpoint(tiny_dual(TINY), tmp_path)
    embedder = load_embedder(str(tmp_path), num_frames=8, device="cpu")
    assert embedder.sampling.num_frames == 8
    assert embedder.fingerprint != load_embedder(str(tmp_path), device="cpu").fingerprint
    clips = half_static_clips(2, num_frames=8)
    assert embedder.embed_clips(clips).num_dense_tokens == 4 * 2 * 2
    with pytest.raises(ConfigError, match="num_frames must be a multiple of tubelet_size"):
        load_embedder(str(tmp_path), num_frames=7, device="cpu")
    fewer = load_embedder(str(tmp_path), num_frames=2, device="cpu")
    assert fewer.embed_clips(half_static_clips(1, num_frames=2)).num_dense_tokens == 2 * 2


def test_a_recipe_starts_from_a_checkpoint_folder(tmp_path: Path) -> None:
    source = tiny_dual()
    save_checkpoint(source, tmp_path)
    model = build_model(video=TINY, text=None, inference=INFERENCE, captions=list, init_from=str(tmp_path))
    for name, tensor in source.state_dict().items():
        assert torch.equal(model.state_dict()[name], tensor)
    same = build_model(video=TINY, text=TINY_TEXT, inference=INFERENCE, captions=list, init_from=str(tmp_path))
    assert torch.equal(same.text.projection.weight, source.text.projection.weight)  # type: ignore[union-attr,arg-type]
    other = replace(INFERENCE, preprocess=replace(INFERENCE.preprocess, mean=(0.5, 0.5, 0.5)))
    with pytest.raises(ConfigError, match=r"mean \(0.5, 0.5, 0.5\).* was trained with mean \(0.4, 0.5, 0.6\)"):
        build_model(video=TINY, text=None, inference=other, captions=list, init_from=str(tmp_path))
    with pytest.raises(ConfigError, match="needs text"):
        build_model(video=TINY, text=None, inference=INFERENCE, captions=list, init_from=None)


@pytest.mark.parametrize("lock", ["video", "text", "none"])
def test_a_locked_tower_gets_no_gradient(lock: str) -> None:
    dual = tiny_dual()
    dual.train()
    lock_towers(dual, lock)  # type: ignore[arg-type]
    rgb_BTHWC = torch.from_numpy(half_static_clips(2))
    ids_BL = dual.text.tokenize(["a", "b"])
    (dual.encode_video(rgb_BTHWC) @ dual.encode_text(ids_BL).T).sum().backward()  # type: ignore[no-untyped-call]
    for name, tower in (("video", dual.video), ("text", dual.text)):
        locked = name == lock
        assert tower.training != locked
        assert all((p.grad is None) == locked for p in tower.parameters() if p.grad is not None or locked)
        assert any(p.grad is not None for p in tower.parameters()) != locked
