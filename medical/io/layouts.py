r"""Layouts: where each public data set keeps its images, volumes and masks, and what a mask's values mean.

A pattern is matched at the end of a file's path below the data set's folder, after a slash. `key` names the case and
pairs its files (never the order of a listing); `label` is taken for the class's name where there is such a group.
"""

from dataclasses import dataclass, field
from typing import Literal

Encoding = Literal["auto", "binary", "inverted", "map", "instances"]
"""binary: true above 127 (above 0 in volumes); inverted: its complement; map: a class per value; instances: an object
per value; auto: binary or map, an error where it may be either."""

IMAGE = r"\.(?i:png|jpe?g|tiff?|bmp|gif)"
VOLUME = r"\.(?i:nii|nii\.gz|mha|mhd|nrrd)"


@dataclass(frozen=True)
class MaskRule:
    """One kind of mask file."""

    pattern: str
    encoding: Encoding = "binary"
    label: str = "object"
    names: dict[int, str] = field(default_factory=dict)
    """Class of each value of a map; values without one are called by their number."""


@dataclass(frozen=True)
class Layout:
    """A data set's files."""

    name: str
    title: str
    image: str
    masks: tuple[MaskRule, ...]
    group: str | None = None
    """What of a key names the patient (its first group; an empty one: all cases are of one specimen). None where the
    data set's names do not say it: then no test and no interval is made unless the user knows better."""
    may_lack_mask: bool = False
    names_from: Literal["", "dataset.json", "data_infor_json"] = ""
    """Which file of the data set holds the classes' names."""
    note: str = ""
    """What `zim-medseg check` says of it."""


_BTCV = ("spleen,right_kidney,left_kidney,gallbladder,esophagus,liver,stomach,aorta,inferior_vena_cava,"
         "portal_and_splenic_vein,pancreas,right_adrenal,left_adrenal")  # fmt: skip
_FLARE = ("liver,right_kidney,spleen,pancreas,aorta,inferior_vena_cava,right_adrenal,left_adrenal,gallbladder,"
          "esophagus,stomach,duodenum,left_kidney")  # fmt: skip
_AMOS = ("spleen,right_kidney,left_kidney,gallbladder,esophagus,liver,stomach,aorta,inferior_vena_cava,pancreas,"
         "right_adrenal,left_adrenal,duodenum,bladder,prostate_or_uterus")  # fmt: skip


def _numbered(names: str) -> dict[int, str]:
    return dict(enumerate(names.split(","), start=1))


def _same_stem(images: str, masks: str, **rule: object) -> tuple[str, tuple[MaskRule, ...]]:
    """Patterns of two folders that hold files of equal stems."""
    stem = rf"/(?P<key>[^/]+){IMAGE}"
    return images + stem, (MaskRule(masks + stem, **rule),)  # type: ignore[arg-type]


_ALL = (
    Layout(
        "folder", "a plain folder: images/ and masks/ (or labels/), same stems; images or volumes",
        rf"images/(?P<key>[^/]+?)(?:{IMAGE}|{VOLUME})",
        (MaskRule(rf"(?:masks|labels)/(?P<key>[^/]+?)(?:{IMAGE}|{VOLUME})", "auto"),),
    ),
    Layout(
        "mazurowski", "sa_NAME/images and sa_NAME/masks, as in Mazurowski et al. (2023)",
        rf"(?P<key>sa_[^/]+/images/[^/]+){IMAGE}",
        (MaskRule(rf"(?P<key>sa_[^/]+/masks/[^/]+?)(?:_mask)?{IMAGE}", "auto"),),
    ),
    Layout("kvasir-seg", "Kvasir-SEG: polyps", *_same_stem("images", "masks", label="polyp"),
           note="masks are JPEG: true above 127; some images show a date and time: look before you publish overlays"),
    Layout("cvc-clinicdb", "CVC-ClinicDB: polyps", *_same_stem("Original", "Ground Truth", label="polyp"),
           note="612 frames of 29 sequences: frames of one sequence are not independent, and names do not tell them"),
    Layout(
        "isic2016", "ISIC 2016: skin lesions", r"[^/]*_Data/(?P<key>ISIC_\d+)\.jpe?g",
        (MaskRule(r"[^/]*_GroundTruth/(?P<key>ISIC_\d+)_[Ss]egmentation\.png", label="lesion"),),
    ),
    Layout(
        "isic2018", "ISIC 2017 and 2018: skin lesions", r"[^/]*_(?:Input|Data)/(?P<key>ISIC_\d+)\.jpe?g",
        (MaskRule(r"[^/]*_(?:Part1_)?GroundTruth/(?P<key>ISIC_\d+)_segmentation\.png", label="lesion"),),
        note="images reach 30 megapixels",
    ),
    Layout(
        "busi", "BUSI: breast lesions in ultrasound", r"(?P<key>(?:benign|malignant|normal)/[a-z]+ \(\d+\))\.png",
        (MaskRule(r"(?P<key>(?:benign|malignant|normal)/[a-z]+ \(\d+\))_mask(?:_\d+)?\.png", label="lesion"),),
        note="several masks of an image are joined; normal ones are empty and get no prompt; the set has duplicates",
    ),
    Layout(
        "montgomery", "Montgomery: lungs in chest X-rays", r"CXR_png/(?P<key>MCUCXR_[^/]+)\.png",
        (MaskRule(r"ManualMask/(?:left|right)Mask/(?P<key>MCUCXR_[^/]+)\.png", label="lungs"),),
        note="left and right are joined; ClinicalReadings are never read",
    ),
    Layout(
        "shenzhen", "Shenzhen: lungs in chest X-rays", r"(?P<key>CHNCXR_\d+_\d)\.png",
        (MaskRule(r"(?P<key>CHNCXR_\d+_\d)_mask\.png", label="lungs"),), may_lack_mask=True,
    ),
    Layout(
        "jsrt", "JSRT: Segmentation01 (lungs) or segmentation02 (lungs and heart)",
        rf"(?:(?:train|test)/org|org_(?:train|test))/(?P<key>[^/]+){IMAGE}",
        (MaskRule(rf"(?:train|test)/label/(?P<key>[^/]+?)(?:_label)?{IMAGE}", label="lungs"),
         MaskRule(rf"label_(?:train|test)/(?P<key>[^/]+?)(?:_label)?{IMAGE}", "map")),
    ),
    Layout(
        "drive", "DRIVE: retinal vessels", r"images/(?P<key>\d+)_(?:training|test)\.tif",
        (MaskRule(r"1st_manual/(?P<key>\d+)_manual1\.(?:gif|png|tif)", label="vessels"),), may_lack_mask=True,
        note="mask/ is the field of view, not the vessels: it is not read",
    ),
    Layout(
        "chase", "CHASE_DB1: retinal vessels", r"(?P<key>Image_\d+[LR])\.jpg",
        (MaskRule(r"(?P<key>Image_\d+[LR])_1stHO\.png", label="vessels"),), group=r"^Image_(\d+)[LR]$",
        note="two eyes of each child",
    ),
    Layout(
        "glas", "GlaS: glands, one object each", r"(?P<key>(?:train|testA|testB)_\d+)\.bmp",
        (MaskRule(r"(?P<key>(?:train|testA|testB)_\d+)_anno\.bmp", "instances", "gland"),),
    ),
    Layout(
        "dsb2018", "Data Science Bowl 2018: nuclei, one file each", r"(?P<key>[^/]+)/images/[^/]+\.png",
        (MaskRule(r"(?P<key>[^/]+)/masks/[^/]+\.png", "instances", "nucleus"),),
    ),
    Layout(
        "nuclei", "DSB 2018 as StarDist ships it: NAME.tif beside maskNAME.tif", r"img(?P<key>[^/]+)\.tiff?",
        (MaskRule(r"mask(?P<key>[^/]+)\.tiff?", "instances", "nucleus"),),
    ),
    Layout(
        "hip-xray", "hip X-rays (Gut, 2021): images and labels of equal stems",
        rf"[Ii]mages?/(?P<key>[^/]+){IMAGE}",
        (MaskRule(rf"(?:[Ll]abels?|[Mm]asks?)/(?P<key>[^/]+){IMAGE}", "map", names={1: "ilium", 2: "femur"}),),
        note="original file names were not verified; 1 is taken for ilium and 2 for femur",
    ),
    Layout(
        "us-muscle", "muscle ultrasound (Marzola): {BB,GM,TA}/{Healthy,Pathological}/{Images,Masks}",
        rf"(?P<key>[A-Z]+/[A-Za-z]+/Images/[^/]+){IMAGE}",
        (MaskRule(rf"(?P<key>[A-Z]+/[A-Za-z]+/Masks/[^/]+){IMAGE}", label="muscle"),),
        note="characteristics.xlsx is about patients: it is never read",
    ),
    Layout(
        "medscribble", "MedScribble as images: SET/images and SET/masks", rf"(?P<key>[^/]+/images/[^/]+){IMAGE}",
        (MaskRule(rf"(?P<key>[^/]+/masks/[^/]+){IMAGE}"),),
    ),
    Layout(
        "cosmos", "COSMOS 1050K: TASK/images and TASK/labels, greys named in data_infor_json/TASK.json",
        rf"(?P<key>[^/]+/images/[^/]+){IMAGE}", (MaskRule(rf"(?P<key>[^/]+/labels/[^/]+){IMAGE}", "map"),),
        group=r"/(\d+_[^/]*?_\d+)_\d+(?:_\d)?$", names_from="data_infor_json",
    ),
    Layout(
        "sam-med2d", "SAM-Med2D's data_demo: masks/KEY_CLASS_NNN.png", r"images/(?P<key>[^/]+)\.png",
        (MaskRule(r"masks/(?P<key>[^/]+?)_(?P<label>[a-zA-Z][^/]*_\d{3})\.png"),), may_lack_mask=True,
    ),
    Layout(
        "lung-cxr", "chest X-rays: KEY.jpg beside KEY-mask.png", r"(?P<key>[^/]+)\.jpe?g",
        (MaskRule(r"(?P<key>[^/]+)-mask\.png", label="lungs"),),
    ),
    Layout("em-membrane", "ISBI 2012: cells between membranes in electron microscopy",
           *_same_stem("image", "label", label="cells"), group=r"^()",
           note="membranes are 0: the cells are the object; all slices are of one stack"),
    Layout(
        "sem-axon", "AxonDeepSeg's SEM data (BIDS): axons and myelin", r"micr/(?P<key>[^/]+_SEM)\.png",
        (MaskRule(r"derivatives/labels/.*/(?P<key>[^/]+_SEM)_seg-(?P<label>axonmyelin|axon|myelin)-manual\.png"),),
        group=r"^(sub-[^_]+)_", note="pixel sizes are in the JSON files [um]; participants.tsv is never read",
    ),
    Layout(
        "sct", "Spinal Cord Toolbox's testing data: cord in T1, T2 and T2* MRI",
        rf"(?P<key>t1w|t2s?){VOLUME}",
        (MaskRule(rf"(?P<key>t1w|t2)_seg-manual{VOLUME}", label="spinal_cord"),
         MaskRule(rf"(?P<key>t2s)_seg{VOLUME}", label="spinal_cord"),
         MaskRule(rf"(?P<key>t2s)_gmseg_manual{VOLUME}", label="grey_matter")),
    ),
    Layout(
        "msd", "Medical Segmentation Decathlon: TaskNN_Name/{imagesTr,labelsTr}, dataset.json",
        rf"imagesTr/(?P<key>[^/]+?){VOLUME}", (MaskRule(rf"labelsTr/(?P<key>[^/]+?){VOLUME}", "map"),),
        names_from="dataset.json", note="tasks 01 and 05 hold several channels: say which with --volume",
    ),
    Layout(
        "nnunet", "nnU-Net raw: DatasetNNN_Name/{imagesTr,labelsTr}, first channel",
        rf"imagesTr/(?P<key>[^/]+?)_0000{VOLUME}", (MaskRule(rf"labelsTr/(?P<key>[^/]+?){VOLUME}", "map"),),
        names_from="dataset.json",
    ),
    Layout(
        "btcv", "BTCV: abdominal organs in CT", rf"(?:img|images?)/(?:img|ABD_)(?P<key>\d+){VOLUME}",
        (MaskRule(rf"labels?/(?:label|ABD_)(?P<key>\d+){VOLUME}", "map", names=_numbered(_BTCV)),),
    ),
    Layout(
        "amos", "AMOS 2022: abdominal organs in CT and MR", rf"images(?:Tr|Va)/(?P<key>amos_\d+){VOLUME}",
        (MaskRule(rf"labels(?:Tr|Va)/(?P<key>amos_\d+){VOLUME}", "map", names=_numbered(_AMOS)),),
        note="numbers below 500 are CT, others MR",
    ),
    Layout(
        "flare22", "FLARE 2022: abdominal organs in CT", rf"images/(?P<key>FLARE22_Tr_\d+)_0000{VOLUME}",
        (MaskRule(rf"labels/(?P<key>FLARE22_Tr_\d+){VOLUME}", "map", names=_numbered(_FLARE)),),
    ),
    Layout(
        "acdc", "ACDC: heart in cine MR", rf"(?P<key>patient\d+_frame\d+){VOLUME}",
        (MaskRule(rf"(?P<key>patient\d+_frame\d+)_gt{VOLUME}", "map",
                  names={1: "right_ventricle", 2: "myocardium", 3: "left_ventricle"}),),
        group=r"(patient\d+)_",
    ),
    Layout(
        "covid-ct", "COVID-19 CT lung and infection (Zenodo 3757476)",
        rf"COVID-19-CT-Seg_20cases/(?P<key>[^/]+?){VOLUME}",
        (MaskRule(rf"Lung_and_Infection_Mask/(?P<key>[^/]+?){VOLUME}", "map",
                  names={1: "left_lung", 2: "right_lung", 3: "infection"}),),
        note="use --window lung; the meaning of the values is not stated in each file: look",
    ),
    Layout("dicom", "DICOM series with DICOM-SEG labels, in any folders", r"(?P<key>[^/]+)", ()),
)  # fmt: skip
LAYOUTS: dict[str, Layout] = {layout.name: layout for layout in _ALL}
"""By name."""


def find_layout(name: str) -> Layout:
    """The layout of that name.

    Raises:
        ValueError: there is none; the message lists them.
    """
    if name not in LAYOUTS:
        raise ValueError(f"no data set {name!r} is known: {', '.join(LAYOUTS)}; a plain folder is `folder`")
    return LAYOUTS[name]
