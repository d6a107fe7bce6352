"""Placement: between the coordinates that nerfstudio trains in and those of the capture."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float


@dataclass(frozen=True, eq=False)
class Placement:
    """The move that nerfstudio makes of a capture's world: places become `scale * (rotation @ place + translation)`.

    The capture's world is that of the camera file that the data parser read; where transforms.json says how it was
    turned before (`applied_transform`), that of COLMAP.
    """

    rotation: Float[np.ndarray, "3 3"]
    translation: Float[np.ndarray, " 3"]
    scale: float

    @classmethod
    def none(cls) -> "Placement":
        """Return the placement that leaves all where it is."""
        return cls(np.eye(3), np.zeros(3), 1.0)

    def to_capture(self, places: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
        """Return places of training in the capture's world.

        Example:
            >>> moved = Placement(np.eye(3), np.array([1.0, 0.0, 0.0]), 0.5)
            >>> moved.to_capture(np.array([[1.0, 1.0, 1.0]])).tolist()
            [[1.0, 2.0, 2.0]]
        """
        return (places / self.scale - self.translation) @ self.rotation

    def turned_to_capture(self, directions: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
        """Return directions of training in the capture's world."""
        return directions @ self.rotation
