"""Frames to tubelets of raw pixels, without leaving uint8.

Shape legend: B clips, T frames, S = T / tubelet_size steps, h x w patch grid, K pixels of a tubelet, C = 3 channels.
"""

from torch import Tensor

from vlrlt.errors import ConfigError


def patchify(rgb_BTHWC: Tensor, *, patch_size_px: int, tubelet_size: int) -> Tensor:
    """Cut clips into tubelets.

    Args:
        rgb_BTHWC: any dtype; height and width are multiples of patch_size_px, T of tubelet_size.
        patch_size_px: side of a square patch.
        tubelet_size: frames of a tubelet.

    Returns:
        patches_BShwK with K = tubelet_size * patch_size_px**2 * C in the order (frame, row, column, channel).

    Raises:
        ConfigError: a size does not divide.
    """
    B, T, H, W, C = rgb_BTHWC.shape
    p, u = patch_size_px, tubelet_size
    if H % p or W % p or T % u or T == 0:
        raise ConfigError(
            f"clips of {T} frames of {H}x{W} px do not divide into tubelets of {u} frames of {p}x{p} px; "
            f"give frames and sizes that are multiples of them"
        )
    grid_BSuhpwqC = rgb_BTHWC.reshape(B, T // u, u, H // p, p, W // p, p, C)
    return grid_BSuhpwqC.permute(0, 1, 3, 5, 2, 4, 6, 7).reshape(B, T // u, H // p, W // p, u * p * p * C)
