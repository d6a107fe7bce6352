"""Layouts of the public matting sets: each declared once, as its authors publish it."""

from zim_plugins.data.readers.paired import PairedLayout, Pairs

_AIM_LICENCE = "MIT by its agreement"

PAIRED_LAYOUTS: dict[str, PairedLayout] = {
    "am2k": PairedLayout(  # github.com/JizhiziLi/GFM
        licence=_AIM_LICENCE,
        folder="AM-2k",
        splits={
            "train": ((Pairs("train/original", "train/mask", foregrounds="train/fg", backgrounds="train/bg"),),),
            "val": ((Pairs("validation/original", "validation/mask"),),),
        },
    ),
    "aim500": PairedLayout(  # github.com/JizhiziLi/AIM
        licence=_AIM_LICENCE, folder="AIM-500", splits={"test": ((Pairs("original", "mask"),),)}
    ),
    "p3m10k": PairedLayout(  # github.com/JizhiziLi/P3M
        licence=_AIM_LICENCE,
        folder="P3M-10k",
        splits={
            "train": ((Pairs("train/blurred_image", "train/mask"),),),
            "val": (
                (
                    Pairs("validation/P3M-500-P/blurred_image", "validation/P3M-500-P/mask", subset="P3M-500-P"),
                    Pairs("validation/P3M-500-NP/original_image", "validation/P3M-500-NP/mask", subset="P3M-500-NP"),
                ),
            ),
        },
    ),
    "alphamatting": PairedLayout(  # alphamatting.com, the training set, which has public mattes
        licence="none found: research use",
        splits={
            "train": (
                (Pairs("input_training_lowres", "gt_training_lowres"),),
                (Pairs("input_training_highres", "gt_training_highres"),),
                (Pairs("image", "alpha"),),
            )
        },
    ),
    "rwp636": PairedLayout(  # github.com/yucornetto/MGMatting
        licence="CC BY-NC 4.0", folder="RealWorldPortrait-636", splits={"test": ((Pairs("image", "alpha"),),)}
    ),
    "him2k": PairedLayout(  # github.com/nowsyn/InstMatt: one matte for each person
        licence="research only",
        folder="HIM2K",
        splits={
            "test": (
                (
                    Pairs("images/natural", "alphas/natural", match="folder", subset="natural"),
                    Pairs("images/comp", "alphas/comp", match="folder", subset="comp"),
                ),
            )
        },
    ),
    "refmatte": PairedLayout(  # github.com/JizhiziLi/RIM: one matte for each entity
        licence="CC BY-NC",
        folder="RefMatte",
        splits={
            "train": (
                (Pairs("train/img", "train/mask", match="numbered"),),
                (Pairs("train/img_full", "train/mask", match="numbered"),),
            ),
            "test": (
                (Pairs("test/img", "test/mask", match="numbered"),),
                (Pairs("RefMatte_RW_100/image", "RefMatte_RW_100/mask", match="numbered", subset="RW100"),),
                (Pairs("image", "mask", match="numbered", subset="RW100"),),
            ),
        },
    ),
    "distinctions646": PairedLayout(  # on request; foregrounds to be composited
        licence="on request, research only",
        folder="Distinctions-646",
        splits={
            "train": (
                (Pairs("Train/FG", "Train/GT", foregrounds="Train/FG"),),
                (Pairs("Train_ori/FG", "Train_ori/GT", foregrounds="Train_ori/FG"),),
            ),
            "test": (
                (Pairs("Test/Image", "Test/GT", match="shared"),),
                (Pairs("Test/FG", "Test/GT", foregrounds="Test/FG"),),
            ),
        },
    ),
    "composition1k": PairedLayout(  # Xu et al. 2017; its archive, and the 1000 composites its script makes
        licence="Adobe, no redistribution",
        folder="Combined_Dataset",
        splits={
            "train": (
                tuple(
                    Pairs(
                        f"Training_set/{part}/fg", f"Training_set/{part}/alpha", "same", part, f"Training_set/{part}/fg"
                    )
                    for part in ("Adobe-licensed images", "Other")
                ),
                (Pairs("Training_set/fg", "Training_set/alpha", foregrounds="Training_set/fg"),),
            ),
            "test": (
                (Pairs("Test_set/merged", "Test_set/alpha_copy"),),
                (Pairs("Test_set/merged", "Test_set/alpha", match="shared", foregrounds="Test_set/fg"),),
                (Pairs("merged", "alpha_copy"),),
                (
                    Pairs(
                        "Test_set/Adobe-licensed images/fg",
                        "Test_set/Adobe-licensed images/alpha",
                        foregrounds="Test_set/Adobe-licensed images/fg",
                    ),
                ),
            ),
        },
    ),
    "bg20k": PairedLayout(  # github.com/JizhiziLi/GFM: photographs without salient objects
        licence=_AIM_LICENCE,
        folder="BG-20k",
        splits={"train": ((Pairs("train", None),),), "test": ((Pairs("testval", None),),)},
    ),
    "objects": PairedLayout(  # click benchmarks: masks NAME_x.png of images x.jpg, or the mattes made of them
        licence="",
        splits={
            "all": (
                (Pairs("images", "masks", match="suffixed", masks=True),),
                (Pairs("images", "mattes", match="suffixed"),),
            )
        },
    ),
    "plain": PairedLayout(  # anybody's own folders
        licence="",
        splits={
            "all": (
                *((Pairs("images", mattes),) for mattes in ("alphas", "alpha", "mattes", "matte")),
                *((Pairs("image", mattes),) for mattes in ("alpha", "alphas", "matte", "mattes")),
                (Pairs("images", "masks", masks=True),),
                (Pairs("image", "mask", masks=True),),
                (Pairs("images", "images", foregrounds="images"),),
                (Pairs("cutouts", "cutouts", foregrounds="cutouts"),),
                (Pairs(".", ".", foregrounds="."),),
            )
        },
    ),
}
"""By the data set's name: am2k, aim500..."""
