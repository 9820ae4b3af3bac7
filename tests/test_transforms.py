"""Proves that preprocessing gives the very pixels of open_clip's image transform, and survives a trip through JSON."""

import json
from typing import Any

import numpy as np
import pytest
from open_clip.transform import image_transform
from PIL import Image

from vlrlt.errors import ConfigError
from vlrlt.video.transforms import Interpolation, Preprocess, ResizeMode

BASE: dict[str, Any] = {"image_size_px": 32, "mean": (0.48, 0.46, 0.41), "std": (0.27, 0.26, 0.28)}


@pytest.mark.parametrize("resize_mode", ["shortest", "squash"])
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize(
    ("height_px", "width_px", "image_size_px"),
    [
        (240, 320, 64),
        (90, 150, 64),
        (321, 241, 64),
        (97, 131, 32),
        (20, 33, 48),
        (64, 64, 64),
        (101, 100, 7),
        (1, 9, 5),
    ],
)
def test_equals_open_clip(
    height_px: int, width_px: int, image_size_px: int, interpolation: Interpolation, resize_mode: ResizeMode
) -> None:
    rgb_HWC = np.random.default_rng(0).integers(0, 256, (height_px, width_px, 3), dtype=np.uint8)
    ours = Preprocess(
        image_size_px=image_size_px, interpolation=interpolation, resize_mode=resize_mode, mean=(0, 0, 0), std=(1, 1, 1)
    )
    theirs = image_transform(
        image_size_px,
        is_train=False,
        mean=(0, 0, 0),
        std=(1, 1, 1),
        resize_mode=resize_mode,
        interpolation=interpolation,
    )
    expected_HWC = (theirs(Image.fromarray(rgb_HWC)).permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)
    result_HWC = ours(rgb_HWC)
    assert result_HWC.dtype == np.uint8
    if resize_mode == "shortest" and width_px > height_px:  # only a part is resized, see Preprocess.__call__
        difference_HWC = np.abs(result_HWC.astype(int) - expected_HWC)
        assert difference_HWC.max() <= 2
        assert np.count_nonzero(difference_HWC) <= 5e-3 * difference_HWC.size
    else:
        np.testing.assert_array_equal(result_HWC, expected_HWC)


def test_takes_turned_frames_that_are_not_contiguous() -> None:
    rgb_HWC = np.random.default_rng(0).integers(0, 256, (50, 40, 3), dtype=np.uint8)
    preprocess = Preprocess(**BASE)
    np.testing.assert_array_equal(preprocess(np.rot90(rgb_HWC)), preprocess(np.rot90(rgb_HWC).copy()))


def test_json_round_trip() -> None:
    preprocess = Preprocess(**BASE, interpolation="bilinear", resize_mode="squash")
    assert Preprocess.from_json(json.loads(json.dumps(preprocess.as_json()))) == preprocess


@pytest.mark.parametrize("fields", [{"image_size_px": 224}, {**BASE, "gamma": 2}])
def test_wrong_json_names_the_fields(fields: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"preprocessing needs the fields image_size_px, interpolation, .* std, got"):
        Preprocess.from_json(fields)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_size_px": 0}, "image_size_px must be 1 to 65536, got 0; try 224"),
        ({"interpolation": "nearest"}, "interpolation must be one of bicubic, bilinear, got 'nearest'; try bicubic"),
        ({"resize_mode": "longest"}, "resize_mode must be one of shortest, squash, got 'longest'; try shortest"),
        ({"std": (1, 0, 1)}, r"std > 0, got .* and \(1, 0, 1\)"),
        ({"mean": (0.5, 0.5)}, "mean and std need three values each"),
    ],
)
def test_impossible_fields_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Preprocess(**{**BASE, **change})


@pytest.mark.parametrize("size_px", [(1280, 720), (480, 270), (333, 199), (64, 48), (50, 48), (49, 48)])
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
def test_what_is_cut_off_at_the_sides_does_not_show(size_px: tuple[int, int], interpolation: Interpolation) -> None:
    """Only the part that is kept is resized; the pixels are those of resizing all of it."""
    width_px, height_px = size_px
    rgb_HWC = np.random.default_rng(0).integers(0, 256, (height_px, width_px, 3), np.uint8)
    preprocess = Preprocess(image_size_px=48, interpolation=interpolation, mean=(0.5,) * 3, std=(0.5,) * 3)
    long_px = int(48 * width_px / height_px)
    resampling = Image.Resampling.BICUBIC if interpolation == "bicubic" else Image.Resampling.BILINEAR
    whole = Image.fromarray(rgb_HWC).resize((long_px, 48), resampling)
    left_px = round((long_px - 48) / 2)
    expected_HWC = np.array(whole.crop((left_px, 0, left_px + 48, 48))).astype(int)
    difference_HWC = np.abs(preprocess(rgb_HWC).astype(int) - expected_HWC)
    assert difference_HWC.max() <= 2
    assert difference_HWC.mean() < 0.01
