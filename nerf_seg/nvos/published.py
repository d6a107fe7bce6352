"""Published scores on NVOS; never mixed with our measurements unmarked.

None of these numbers was checked against the paper that prints it: all were read in other people's notes on it
("second-hand"), and protocols differ from paper to paper.
"""

from dataclasses import dataclass

SOURCE = "second-hand"
"""How the numbers were had; `note` says more where more is known."""

FIELDS = ("NeRF", "3DGS")
"""What a scene is made of where we measure; scores on one are not mixed with scores on the other."""
OTHER = "other"


@dataclass(frozen=True)
class Published:
    """A method's mean over NVOS's tasks, in %; None where the source has no number."""

    method: str
    kind: str
    """What the scene is made of."""
    iou: float
    accuracy: float | None = None
    boundary_iou: float | None = None
    note: str = ""

    @property
    def family(self) -> str:
        """Return the field that its scores stand beside: NeRF, 3DGS, or another."""
        return next((field for field in FIELDS if self.kind.startswith(field)), OTHER)


NVOS = (
    Published("Graph-cut 3D", "", 39.4, 73.6, note="row labels of the source are shifted by one"),
    Published("NVOS (CVPR 2022)", "NeRF/MPI", 70.1, 92.0),
    Published("ISRF (CVPR 2023)", "NeRF", 83.8, 96.4),
    Published("SA3D (NeurIPS 2023)", "NeRF", 90.3, 98.2),
    Published("SAGD", "3DGS", 90.4, 98.2, note="72.1 in GaussianCut's table"),
    Published("SA3D-GS (IJCV 2025)", "3DGS", 90.7, 98.3),
    Published("OmniSeg3D (CVPR 2024)", "NeRF", 91.7, 98.4),
    Published("FlashSplat (ECCV 2024)", "3DGS", 91.8, 98.6),
    Published("LUDVIG, DINOv2 (ICCV 2025)", "3DGS", 92.4, 98.4),
    Published("GaussianCut (NeurIPS 2024)", "3DGS", 92.5, 98.4),
    Published("SAGA (AAAI 2025)", "3DGS", 92.6, 98.6, note="90.9 / 98.3 in its preprint"),
    Published("NG-GS (CVPR 2026)", "3DGS", 92.6, 99.2, 84.7),
    Published("VCAR (ACM MM 2026)", "3DGS", 93.5, 98.6, note="it says 7 scenes"),
    Published("MV-SAM (2026)", "feed-forward", 92.1, 97.5),
    Published("WildSeg3D (ICCV 2025)", "DUSt3R-like", 94.1, 99.0, note="5 random views, seed not disclosed"),
)
"""SA3D and those that are compared with it."""
VCAR_FIELD = "3DGS"
VCAR_TASKS = {
    "fern": (85.4, 95.2),
    "flower": (94.3, 98.6),
    "fortress": (96.1, 99.3),
    "horns": (96.9, 99.5),
    "leaves": (97.0, 99.8),
    "orchids": (95.3, 99.2),
    "trex": (89.3, 98.6),
}
"""IoU and accuracy [%] by scene of VCAR: the only such table that was found; SA3D's was not."""
