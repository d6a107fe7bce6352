"""Presets: runs by name."""

from .run import DatasetSpec

ZIM5_NOTE = (
    "Preset zim5: the choice of data sets is ours. ZIM's paper shows SAM and ZIM on five medical data sets; which, "
    "with how many points and by which metric is not known, so these figures must not be called a reproduction of them."
)
ZIM5 = (
    DatasetSpec("xray_hip_ilium", "hip-xray", "hip_xray", "ilium"),
    DatasetSpec("xray_hip_femur", "hip-xray", "hip_xray", "femur"),
    DatasetSpec("us_muscle", "us-muscle", "us_muscle"),
    DatasetSpec("us_breast", "busi", "Dataset_BUSI_with_GT"),
    DatasetSpec("ct_spleen", "msd", "Task09_Spleen", "spleen"),
)
"""One for each look of the paper's figure, all of Mazurowski's list, all public; folders below `--data`."""
