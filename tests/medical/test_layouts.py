"""Every layout on a synthetic miniature of itself: what pairs, what is told, which values mean what."""

import json
from pathlib import Path

import numpy as np
import pytest

from medical.io.errors import ScanFault
from medical.io.layouts import LAYOUTS, find_layout
from medical.io.pairing import find_cases
from medical.io.reading import read_scan
from tests.medical.conftest import save

GREY = np.full((6, 8), 90, np.uint8)
MASK = np.zeros((6, 8), np.uint8)
MASK[1:4, 2:6] = 255
OTHER = np.zeros((6, 8), np.uint8)
OTHER[5, 0] = 255
IDS = np.zeros((6, 8), np.uint8)
IDS[0, :3], IDS[4, 4:] = 1, 2

# layout: (files, number of cases, labels of the first case)
IMAGES = {
    "folder": ({"images/b.png": GREY, "masks/b.png": MASK, "images/a.jpg": GREY, "masks/a.png": MASK}, 2, ["object"]),
    "mazurowski": ({"sa_us/images/x.png": GREY, "sa_us/masks/x.png": MASK}, 1, ["object"]),
    "kvasir-seg": ({"Kvasir-SEG/images/cju.jpg": GREY, "Kvasir-SEG/masks/cju.jpg": MASK}, 1, ["polyp"]),
    "cvc-clinicdb": ({"Original/1.tif": GREY, "Ground Truth/1.tif": MASK}, 1, ["polyp"]),
    "isic2016": ({"ISBI2016_ISIC_Part1_Test_Data/ISIC_0000003.jpg": GREY,
                  "ISBI2016_ISIC_Part1_Test_GroundTruth/ISIC_0000003_Segmentation.png": MASK}, 1, ["lesion"]),
    "isic2018": ({"ISIC2018_Task1-2_Training_Input/ISIC_0000000.jpg": GREY,
                  "ISIC2018_Task1_Training_GroundTruth/ISIC_0000000_segmentation.png": MASK}, 1, ["lesion"]),
    "busi": ({"benign/benign (1).png": GREY, "benign/benign (1)_mask.png": MASK,
              "benign/benign (1)_mask_1.png": OTHER, "normal/normal (1).png": GREY,
              "normal/normal (1)_mask.png": MASK * 0}, 2, ["lesion"]),
    "montgomery": ({"CXR_png/MCUCXR_0001_0.png": GREY, "ManualMask/leftMask/MCUCXR_0001_0.png": MASK,
                    "ManualMask/rightMask/MCUCXR_0001_0.png": OTHER}, 1, ["lungs"]),
    "shenzhen": ({"CHNCXR_0061_0.png": GREY, "CHNCXR_0061_0_mask.png": MASK, "CHNCXR_0062_0.png": GREY}, 1, ["lungs"]),
    "jsrt": ({"Segmentation01/train/org/a.png": GREY, "Segmentation01/train/label/a.png": MASK}, 1, ["lungs"]),
    "drive": ({"training/images/21_training.tif": GREY, "training/1st_manual/21_manual1.gif": MASK,
               "training/mask/21_training_mask.gif": 255 - MASK}, 1, ["vessels"]),
    "chase": ({"Image_01L.jpg": GREY, "Image_01L_1stHO.png": MASK, "Image_01L_2ndHO.png": OTHER}, 1, ["vessels"]),
    "glas": ({"train_1.bmp": GREY, "train_1_anno.bmp": IDS}, 1, ["gland"]),
    "dsb2018": ({"stage1_train/x/images/x.png": GREY, "stage1_train/x/masks/1.png": MASK,
                 "stage1_train/x/masks/2.png": OTHER}, 1, ["nucleus"]),
    "nuclei": ({"img2d.tif": GREY, "mask2d.tif": IDS}, 1, ["nucleus"]),
    "hip-xray": ({"Images/1.jpg": GREY, "Labels/1.png": IDS}, 1, ["ilium", "femur"]),
    "us-muscle": ({"BB/Healthy/Images/1.png": GREY, "BB/Healthy/Masks/1.png": MASK}, 1, ["muscle"]),
    "medscribble": ({"SCD/images/p.png": GREY, "SCD/masks/p.png": MASK, "WBC/images/p.png": GREY,
                     "WBC/masks/p.png": MASK}, 2, ["object"]),
    "sam-med2d": ({"images/amos_0006_90.png": GREY, "masks/amos_0006_90_liver_000.png": MASK,
                   "masks/amos_0006_90_vertebrae_T9_001.png": OTHER}, 1, ["liver_000", "vertebrae_T9_001"]),
    "lung-cxr": ({"1.jpg": GREY, "1-mask.png": MASK}, 1, ["lungs"]),
    "em-membrane": ({"image/0.png": GREY, "label/0.png": MASK}, 1, ["cells"]),
    "sem-axon": ({"sub-r/micr/sub-r_sample-1_SEM.png": GREY,
                  "derivatives/labels/sub-r/micr/sub-r_sample-1_SEM_seg-axon-manual.png": MASK,
                  "derivatives/labels/sub-r/micr/sub-r_sample-1_SEM_seg-axonmyelin-manual.png": MASK},
                 1, ["axon", "axonmyelin"]),
}  # fmt: skip
VOLUMES = {
    "msd": (["Task09_Spleen/imagesTr/spleen_2", "Task09_Spleen/labelsTr/spleen_2"], ["spleen", "tumour"]),
    "nnunet": (["Dataset1_X/imagesTr/c_0000", "Dataset1_X/labelsTr/c"], ["spleen", "tumour"]),
    "btcv": (["Training/img/img0001", "Training/label/label0001"], ["spleen", "right_kidney"]),
    "amos": (["amos22/imagesTr/amos_0001", "amos22/labelsTr/amos_0001"], ["spleen", "right_kidney"]),
    "flare22": (["images/FLARE22_Tr_0001_0000", "labels/FLARE22_Tr_0001"], ["liver", "right_kidney"]),
    "acdc": (["training/patient001/patient001_frame01", "training/patient001/patient001_frame01_gt"],
             ["right_ventricle", "myocardium"]),
    "covid-ct": (["COVID-19-CT-Seg_20cases/a", "Lung_and_Infection_Mask/a"], ["left_lung", "right_lung"]),
}  # fmt: skip


def test_every_layout_has_a_miniature() -> None:
    elsewhere = {"cosmos", "sct", "dicom"}  # read below and in test_dicom.py
    assert set(IMAGES) | set(VOLUMES) | elsewhere == set(LAYOUTS)
    with pytest.raises(ValueError, match="kvasir-seg"):
        find_layout("kvasir")


@pytest.mark.parametrize("name", IMAGES)
def test_images_are_paired_by_name(name: str, tmp_path: Path) -> None:
    files, count, labels = IMAGES[name]
    for path, array in files.items():
        save(tmp_path / "above" / path, array)
    (tmp_path / "above" / ".DS_Store").write_bytes(b"x")
    save(tmp_path / "above" / "__MACOSX" / "images" / "ghost.png", GREY)
    cases, problems = find_cases(tmp_path, find_layout(name))
    assert len(cases) == count and not problems
    scan = read_scan(cases[0])
    assert scan.labels == labels and scan.frames.shape == (1, 6, 8, 3)
    found = {(t.label, t.instance): int(t.mask.sum()) for t in scan.targets(0)}
    if name in ("busi", "montgomery"):
        assert found == {(labels[0], 0): 13}, "several masks of one object are joined"
    elif name == "dsb2018":
        assert sorted(found.values()) == [1, 12] and len(found) == 2
    elif name in ("glas", "nuclei"):
        assert found == {(labels[0], 1): 3, (labels[0], 2): 4}
    elif name == "hip-xray":
        assert found == {("ilium", 0): 3, ("femur", 0): 4}
    else:
        assert found[labels[0], 0] == 12
    if name == "busi":
        assert not list(read_scan(cases[1]).targets(0)), "a normal image has an empty mask and nothing to prompt"


@pytest.mark.parametrize("name", VOLUMES)
def test_volumes_are_paired_and_their_values_named(name: str, tmp_path: Path) -> None:
    nib = pytest.importorskip("nibabel")
    (image, mask), labels = VOLUMES[name]
    values = np.zeros((5, 6, 4), np.int16)
    values[1:3, 2:4, 1], values[3:, 4:, 2] = 1, 2
    for path, array in (
        (image, values * 100),
        (mask, values),
        (str(Path(mask).with_name("._" + Path(mask).name)), values),
    ):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        nib.save(nib.Nifti1Image(array, np.diag([2.0, 3, 5, 1])), tmp_path / f"{path}.nii.gz")
    table = {"labels": {"0": "background", "1": "spleen", "2": "tumour"}}
    if name == "nnunet":
        table = {"labels": {"background": 0, "spleen": 1, "tumour": 2}}
    (tmp_path / Path(image).parts[0] / "dataset.json").write_text(json.dumps(table))
    cases, problems = find_cases(tmp_path, find_layout(name))
    assert len(cases) == 1 and not problems
    scan = read_scan(cases[0])
    assert scan.labels == labels and scan.spacing_mm == (5.0, 3.0, 2.0)
    assert [int(scan.label_stack(label).sum()) for label in labels] == [4, 4]
    if name == "acdc":
        assert cases[0].group == "patient001"


def test_each_task_names_its_labels_by_its_own_table(tmp_path: Path) -> None:
    nib = pytest.importorskip("nibabel")
    values = np.zeros((5, 6, 4), np.int16)
    values[1:3, 2:4, 1] = 1
    for task, names in (("Task03_Liver", {"1": "liver"}), ("Task09_Spleen", {"1": "spleen"}), ("Task99_Own", None)):
        for folder, array in (("imagesTr", values * 100), ("labelsTr", values)):
            (tmp_path / task / folder).mkdir(parents=True)
            nib.save(nib.Nifti1Image(array, np.eye(4)), tmp_path / task / folder / f"{task[7:].lower()}_1.nii.gz")
        if names is not None:
            (tmp_path / task / "dataset.json").write_text(json.dumps({"labels": names}))
    cases, problems = find_cases(tmp_path, find_layout("msd"))
    found = {case.key.rpartition("/")[2]: read_scan(case).labels for case in cases}
    assert found["liver_1"] == ["liver"] and found["spleen_1"] == ["spleen"]
    assert found["own_1"] not in (["liver"], ["spleen"]), "another task's table says nothing of these labels"
    assert not problems


def test_greys_of_cosmos_are_named_by_its_table(tmp_path: Path) -> None:
    label = np.zeros((6, 8), np.uint8)
    label[0, :2], label[1, :3] = 85, 255
    save(tmp_path / "22_Heart/images/22_Heart_2_8.png", GREY)
    save(tmp_path / "22_Heart/labels/22_Heart_2_8.png", label)
    table = {"info": {"1": "LV", "2": "Myo", "3": "RV"}, "color": {"1": 85, "2": 170, "3": 255}}
    (tmp_path / "data_infor_json").mkdir()
    (tmp_path / "data_infor_json/22_Heart.json").write_text(json.dumps(table))
    cases, _ = find_cases(tmp_path, find_layout("cosmos"))
    assert cases[0].group == "22_Heart_2"
    assert {t.label: int(t.mask.sum()) for t in read_scan(cases[0]).targets(0)} == {"LV": 2, "RV": 3}


def test_missing_partners_and_links_are_told(tmp_path: Path) -> None:
    root = tmp_path / "set"
    save(root / "images/a.png", GREY)
    save(root / "masks/b.png", MASK)
    save(tmp_path / "outside.png", GREY)
    (root / "images/b.png").symlink_to(tmp_path / "outside.png")
    (root / "images/more").symlink_to(tmp_path, target_is_directory=True)
    cases, problems = find_cases(root, find_layout("folder"))
    assert not cases
    assert [(p.where, p.what) for p in problems] == [
        ("images/b.png", "is a symbolic link: see --follow-links"),
        ("images/more", "is a symbolic link: see --follow-links"),
        ("images/a.png", "has no mask"),
        ("masks/b.png", "is a mask without its image"),
    ]
    (root / "images/more").unlink()  # a loop
    assert len(find_cases(root, find_layout("folder"), follow_links=True)[0]) == 1


def test_an_ambiguous_mask_is_an_error_that_shows_its_values(tmp_path: Path) -> None:
    stray = MASK.copy()
    stray[0, 0], stray[0, 1] = 128, 130
    save(tmp_path / "images/a.png", GREY)
    save(tmp_path / "masks/a.png", stray)
    case = find_cases(tmp_path, find_layout("folder"))[0][0]
    with pytest.raises(ScanFault, match=r"0, 128, 130, 255.*--labels"):
        read_scan(case)
    case = find_cases(tmp_path, find_layout("folder"), labels="binary")[0][0]
    assert next(read_scan(case).targets(0)).mask.sum() == 14


def test_jpeg_masks_are_true_above_127_only(medical_data: Path) -> None:
    cases, problems = find_cases(medical_data / "research_only/kvasir-seg", find_layout("kvasir-seg"))
    assert len(cases) == 3 and not problems
    assert sorted(int(next(read_scan(c).targets(0)).mask.sum()) for c in cases) == [23706, 93043, 104400]


def test_sizes_are_never_adjusted(tmp_path: Path) -> None:
    save(tmp_path / "images/a.png", GREY)
    save(tmp_path / "masks/a.png", MASK[:5])
    case = find_cases(tmp_path, find_layout("folder"))[0][0]
    with pytest.raises(ScanFault, match="8x5 px, the image 8x6"):
        read_scan(case)


def test_sidecars_give_the_pixel_size(medical_data: Path) -> None:
    cases, _ = find_cases(medical_data / "clean/sem_axon_bids", find_layout("sem-axon"))
    assert len(cases) == 5 and len({c.group for c in cases}) == 4
    assert all(c.pixel_mm is not None and 1e-5 < c.pixel_mm[0] < 1e-3 for c in cases)
    assert {m.label for m in cases[0].masks} == {"axon", "axonmyelin", "myelin"}
