"""Boxes by text: each family's own processor and post-processing against ours, on tiny random models saved to disk."""

import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from zim_plugins.core import CheckpointError, TextBox, load_text_detector

pytest.importorskip("transformers", reason="the extra `models`", minversion="5.0")


def bert_tokenizer(t: Any, folder: Path) -> Any:
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "red", "car", ".", "a", "dog", "?"]
    (folder / "vocab.txt").write_text("\n".join(words))
    return t.BertTokenizer(vocab=str(folder / "vocab.txt"))


def clip_tokenizer(t: Any, folder: Path) -> Any:
    letters = list("abcdefghijklmnopqrstuvwxyz")
    tokens = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({token: i for i, token in enumerate(tokens)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    return t.CLIPTokenizer(vocab=str(folder / "vocab.json"), merges=str(folder / "merges.txt"))


def grounding_dino(t: Any, folder: Path) -> tuple[Any, Any]:
    trunk = t.SwinConfig(
        image_size=64, patch_size=4, embed_dim=8, depths=[1, 1, 1], num_heads=[1, 1, 1], window_size=4,
        out_features=["stage1", "stage2", "stage3"],
    )  # fmt: skip
    text = t.BertConfig(
        vocab_size=12, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
        max_position_embeddings=32,
    )  # fmt: skip
    config = t.GroundingDinoConfig(
        backbone_config=trunk, text_config=text, num_queries=12, encoder_layers=1, decoder_layers=2, d_model=32,
        encoder_ffn_dim=16, decoder_ffn_dim=16, encoder_attention_heads=2, decoder_attention_heads=2,
        num_feature_levels=3, max_text_len=16, disable_custom_kernels=True,
    )  # fmt: skip
    images = t.GroundingDinoImageProcessor(size={"shortest_edge": 64, "longest_edge": 96})
    return t.GroundingDinoForObjectDetection(config), t.GroundingDinoProcessor(images, bert_tokenizer(t, folder))


def owlv2(t: Any, folder: Path) -> tuple[Any, Any]:
    config = t.Owlv2Config(
        text_config={
            "vocab_size": 54, "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1,
            "num_attention_heads": 2, "bos_token_id": 52, "eos_token_id": 53, "pad_token_id": 0,
        },
        vision_config={
            "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
            "image_size": 64, "patch_size": 16,
        },
        projection_dim=16,
    )  # fmt: skip
    images = t.Owlv2ImageProcessor(size={"height": 64, "width": 64})
    return t.Owlv2ForObjectDetection(config), t.Owlv2Processor(images, clip_tokenizer(t, folder))


HAS_PROCESSORS = importlib.util.find_spec("torchvision") is not None
WITHOUT = pytest.mark.skip(reason="transformers' own processors stand on torchvision")


@pytest.fixture(
    scope="module", params=[grounding_dino, owlv2] if HAS_PROCESSORS else [pytest.param(None, marks=WITHOUT)]
)
def saved(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    import transformers

    folder = tmp_path_factory.mktemp(request.param.__name__)
    torch.manual_seed(0)
    model, processor = request.param(transformers, folder)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.normal_(std=parameter.shape[1] ** -0.5)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def an_image(height: int = 90, width: int = 140) -> np.ndarray:
    return np.random.default_rng(3).integers(0, 256, (height, width, 3), dtype=np.uint8)


def their_boxes(folder: Path, image: np.ndarray, text: str, threshold: float) -> tuple[np.ndarray, np.ndarray]:
    from transformers import AutoModelForZeroShotObjectDetection, AutoProcessor

    processor = AutoProcessor.from_pretrained(folder)
    model = AutoModelForZeroShotObjectDetection.from_pretrained(folder).eval()
    dino = "dino" in folder.name
    given = processor(images=image, text=f"{text}." if dino else [[text]], return_tensors="pt")
    with torch.no_grad():
        answer = model(**given)
    further = {"input_ids": given.input_ids, "text_threshold": min(0.25, threshold)} if dino else {}
    found = processor.post_process_grounded_object_detection(
        answer, threshold=threshold, target_sizes=[image.shape[:2]], **further
    )[0]
    return found["boxes"].numpy(), found["scores"].numpy()


def test_boxes_are_those_of_the_class_itself(saved):
    image = an_image()
    _, scores = their_boxes(saved, image, "the red car", 0.0)
    threshold = float(np.sort(scores)[len(scores) // 2])
    boxes, scores = their_boxes(saved, image, "the red car", threshold)
    found = load_text_detector(f"hf:{saved}", device="cpu").find(image, " The  red car ".lower(), threshold=threshold)
    assert found and all(isinstance(one, TextBox) for one in found)
    assert [one.score for one in found] == sorted((one.score for one in found), reverse=True)
    clipped = boxes.clip(0, [140, 90, 140, 90])
    for one in found:
        nearest = np.abs(clipped - np.array(one.box)).max(1).argmin()
        np.testing.assert_allclose(one.box, clipped[nearest], atol=1e-3)
        assert abs(one.score - scores[nearest]) < 1e-5
        assert 0 <= one.box[0] < one.box[2] <= 140 and 0 <= one.box[1] < one.box[3] <= 90


def test_the_best_is_the_first_of_all_and_nothing_is_nothing(saved):
    detector = load_text_detector(str(saved), device="cpu")
    every = detector.find(an_image(), "the red car", threshold=0.0)
    assert detector.find(an_image(), "the red car", threshold=0.0, which="best") == every[:1]
    assert detector.find(an_image(), "the red car", threshold=1.0) == []
    with pytest.raises(ValueError, match="empty"):
        detector.find(an_image(), "  ")


def test_the_command_takes_a_text(saved, tmp_path, capsys, monkeypatch):
    from PIL import Image

    from zim_plugins.cli import main
    from zim_plugins.core import text_boxes

    Image.fromarray(an_image()).save(tmp_path / "a.png")
    words = ["matte", str(tmp_path / "a.png"), "--text", "the red car", "--text-model", str(saved), "-o", str(tmp_path)]
    with monkeypatch.context() as patch:
        patch.setattr(text_boxes.TextDetector, "find", lambda self, image, text, *, which: [])
        assert main([*words, "--refine", "none"]) == 1
    assert "nothing that is 'the red car' is found" in capsys.readouterr().err
    found = [TextBox((10, 10, 60, 70), 0.9), TextBox((70, 20, 130, 80), 0.5)]
    monkeypatch.setattr(
        text_boxes.TextDetector, "find", lambda self, image, text, *, which: found[: 1 if which == "best" else None]
    )
    assert main([*words, "--json", "--refine", "none"]) == 0
    told = capsys.readouterr()
    assert len(json.loads(told.out)["prompt"]["objects"]) == 2 and "box 10,10,60,70, score 0.90" in told.err
    assert main([*words, "--json", "--text-best", "--overwrite", "--refine", "none"]) == 0
    assert json.loads(capsys.readouterr().out)["prompt"]["box"] == [10, 10, 60, 70]


def test_what_is_no_detector_or_cannot_be_had(tmp_path, capsys):
    from zim_plugins.cli import main

    with pytest.raises(CheckpointError, match="no folder"):
        load_text_detector("hf:./nowhere", device="cpu")
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(CheckpointError, match="bert, which finds nothing by text"):
        load_text_detector(str(tmp_path), device="cpu")
    assert main(["matte", "gone.png", "--text", "the car", "--text-model", "./nowhere"]) == 1
    assert "no folder" in (said := capsys.readouterr().err) and "gone" not in said
    assert main(["matte", "sample:dogs", "--point", "1,1", "--text-best"]) == 2
    assert main(["matte", "sample:dogs", "--text", " "]) == 2
