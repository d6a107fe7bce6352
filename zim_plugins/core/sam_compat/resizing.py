"""ResizeLongestSide: SAM's own transform of images, clicks and boxes into its frame."""

from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Num, UInt8

from zim_plugins.core.transforms import frame_size, image_to_frame
from zim_plugins.imaging.ranges import ImageArray, to_uint8

if TYPE_CHECKING:
    from torch import Tensor


class ResizeLongestSide:
    """Resizing to a longest side, under segment-anything's names.

    Args:
        target_length: longest side of what comes out [px].

    >>> ResizeLongestSide(1024).apply_coords(np.array([[300, 200]]), (400, 600)).tolist()
    [[512.0, 341.5]]
    """

    def __init__(self, target_length: int) -> None:
        self.target_length = target_length

    def apply_image(self, image: ImageArray) -> UInt8[np.ndarray, "s t 3"]:
        """Resize an RGB image, antialiased; uint8, uint16 or floating-point in [0, 1] comes in, uint8 goes out."""
        return image_to_frame(to_uint8(image), self.target_length).copy()

    def apply_coords(
        self, coords: Num[np.ndarray, "... 2"], original_size: tuple[int, ...]
    ) -> Float[np.ndarray, "... 2"]:
        """XY in an image of `original_size` (H, W) to XY in the frame [px]."""
        height, width = self.get_preprocess_shape(original_size[0], original_size[1], self.target_length)
        return np.asarray(coords, dtype=np.float64) * [width / original_size[1], height / original_size[0]]

    def apply_boxes(self, boxes: Num[np.ndarray, "... 4"], original_size: tuple[int, ...]) -> Float[np.ndarray, "_ 4"]:
        """X1 Y1 X2 Y2 in an image of `original_size` (H, W) to the frame [px]."""
        return self.apply_coords(np.asarray(boxes).reshape(-1, 2, 2), original_size).reshape(-1, 4)

    def apply_image_torch(self, image: "Tensor") -> "Tensor":
        """Resize a batch (b, 3, h, w), antialiased."""
        from torch.nn.functional import interpolate

        size = self.get_preprocess_shape(image.shape[2], image.shape[3], self.target_length)
        return interpolate(image, size, mode="bilinear", align_corners=False, antialias=True)

    def apply_coords_torch(self, coords: "Tensor", original_size: tuple[int, ...]) -> "Tensor":
        """As `apply_coords`, of a tensor."""
        height, width = self.get_preprocess_shape(original_size[0], original_size[1], self.target_length)
        positions = coords.float()
        return positions * positions.new_tensor([width / original_size[1], height / original_size[0]])

    def apply_boxes_torch(self, boxes: "Tensor", original_size: tuple[int, ...]) -> "Tensor":
        """As `apply_boxes`, of a tensor."""
        return self.apply_coords_torch(boxes.reshape(-1, 2, 2), original_size).reshape(-1, 4)

    @staticmethod
    def get_preprocess_shape(oldh: int, oldw: int, long_side_length: int) -> tuple[int, int]:
        """Size (H, W) of an image of `oldh` x `oldw` in the frame [px]."""
        return frame_size((oldh, oldw), long_side_length)
