"""Tiny random models of each family, saved to disk by transformers' own classes."""

from pathlib import Path
from typing import Any

import pytest

FAMILIES = ("sam", "sam_hq", "sam2", "edgetam", "sam3_tracker")
DECODER = {"hidden_size": 32, "mlp_dim": 48, "num_attention_heads": 2, "iou_head_hidden_dim": 16, "iou_head_depth": 2}
FRAME = {"sam": 128, "sam_hq": 128, "sam2": 128, "edgetam": 128, "sam3_tracker": 112}


def save(family: str, folder: Path, seed: int = 0) -> Any:
    """Write a model and its processor into `folder`; return the processor."""
    torch = pytest.importorskip("torch")
    pytest.importorskip("transformers", reason="the extra `models`", minversion="5.0")
    pytest.importorskip("torchvision", reason="transformers' own processors stand on it")
    if family == "edgetam":
        pytest.importorskip("timm", reason="EdgeTAM's trunk stands on it", minversion="1.0")
    import transformers as t

    torch.manual_seed(seed)
    side = FRAME[family]
    model, processor = globals()[f"_{family}"](t, side)
    with torch.no_grad():  # answers far from zero, so that nothing agrees for want of size
        for name, parameter in model.named_parameters():
            if "no_memory" in name:
                parameter.normal_()
            elif parameter.ndim >= 2 and "timm_model" not in name:
                parameter.normal_(std=(parameter[0].numel()) ** -0.5)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return processor


def _padded(t: Any, side: int, prefix: str) -> tuple[Any, Any]:
    config = getattr(t, f"{prefix}Config")
    vision = getattr(t, f"{prefix}VisionConfig")(
        hidden_size=32, output_channels=32, num_hidden_layers=2, num_attention_heads=2, image_size=side, patch_size=16,
        window_size=4, global_attn_indexes=[1], mlp_dim=48, num_pos_feats=16,
    )  # fmt: skip
    prompt = getattr(t, f"{prefix}PromptEncoderConfig")(
        hidden_size=32, image_size=side, patch_size=16, mask_input_channels=4
    )
    more = {"vit_dim": 32} if prefix == "SamHQ" else {}
    decoder = getattr(t, f"{prefix}MaskDecoderConfig")(**DECODER, **more)
    model = getattr(t, f"{prefix}Model")(
        config(vision_config=vision, prompt_encoder_config=prompt, mask_decoder_config=decoder)
    )
    images = t.SamImageProcessor(size={"longest_edge": side}, pad_size={"height": side, "width": side})
    return model, getattr(t, f"{prefix}Processor")(images)


def _sam(t: Any, side: int) -> tuple[Any, Any]:
    return _padded(t, side, "Sam")


def _sam_hq(t: Any, side: int) -> tuple[Any, Any]:
    return _padded(t, side, "SamHQ")


def _pyramid(side: int, stride: int = 4) -> list[list[int]]:
    return [[side // (stride * k)] * 2 for k in (1, 2, 4)]


def _sam2(t: Any, side: int) -> tuple[Any, Any]:
    trunk = t.Sam2HieraDetConfig(
        hidden_size=8, num_attention_heads=1, image_size=[side, side], blocks_per_stage=[1, 1, 2, 1],
        embed_dim_per_stage=[8, 16, 32, 64], num_attention_heads_per_stage=[1, 2, 4, 8],
        window_size_per_stage=[8, 4, 8, 4], global_attention_blocks=[3],
        window_positional_embedding_background_size=[4, 4],
    )  # fmt: skip
    vision = t.Sam2VisionConfig(
        backbone_config=trunk, backbone_channel_list=[64, 32, 16, 8], backbone_feature_sizes=_pyramid(side),
        fpn_hidden_size=32,
    )  # fmt: skip
    prompt = t.Sam2PromptEncoderConfig(hidden_size=32, image_size=side, patch_size=16, mask_input_channels=4)
    model = t.Sam2Model(
        t.Sam2Config(
            vision_config=vision, prompt_encoder_config=prompt, mask_decoder_config=t.Sam2MaskDecoderConfig(**DECODER)
        )
    )
    return model, t.Sam2Processor(t.Sam2ImageProcessor(size={"height": side, "width": side}))


def _edgetam(t: Any, side: int) -> tuple[Any, Any]:
    trunk = t.TimmWrapperConfig(
        architecture="repvit_m1", model_args={"in_chans": 3, "features_only": True, "out_indices": [0, 1, 2, 3]}
    )
    vision = t.EdgeTamVisionConfig(
        backbone_config=trunk, backbone_feature_sizes=_pyramid(side), fpn_hidden_size=32,
    )  # fmt: skip
    prompt = t.EdgeTamPromptEncoderConfig(hidden_size=32, image_size=side, patch_size=16, mask_input_channels=4)
    model = t.EdgeTamModel(
        t.EdgeTamConfig(
            vision_config=vision,
            prompt_encoder_config=prompt,
            mask_decoder_config=t.EdgeTamMaskDecoderConfig(**DECODER),
        )
    )
    return model, t.Sam2Processor(t.Sam2ImageProcessor(size={"height": side, "width": side}))


def _sam3_tracker(t: Any, side: int) -> tuple[Any, Any]:
    trunk = t.Sam3ViTConfig(
        hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2, image_size=side,
        patch_size=14,
        window_size=4, global_attn_indexes=[1], pretrain_image_size=56,
    )  # fmt: skip
    grid = side // 14
    vision = t.Sam3VisionConfig(
        backbone_config=trunk, fpn_hidden_size=32, backbone_feature_sizes=[[grid * k] * 2 for k in (4, 2, 1)],
    )  # fmt: skip
    prompt = t.Sam3TrackerPromptEncoderConfig(hidden_size=32, image_size=side, patch_size=14, mask_input_channels=4)
    model = t.Sam3TrackerModel(
        t.Sam3TrackerConfig(
            vision_config=vision, prompt_encoder_config=prompt,
            mask_decoder_config=t.Sam3TrackerMaskDecoderConfig(**DECODER),
        )
    )  # fmt: skip
    return model, t.Sam3TrackerProcessor(t.Sam3ImageProcessor(size={"height": side, "width": side}))


def save_tracker(family: str, folder: Path, seed: int = 1) -> Any:
    """Write a video tracker of a family, as the hub's files are, with the image processor; return its state dict."""
    save(family, folder)  # skips where something is missing, and writes the processor
    import torch
    import transformers as t
    from safetensors.torch import save_file

    torch.manual_seed(seed)
    config = t.AutoConfig.from_pretrained(folder)
    side, name = FRAME[family], {"sam2": "Sam2", "edgetam": "EdgeTam", "sam3_tracker": "Sam3Tracker"}[family]
    sizes = {
        "memory_attention_hidden_size": 32, "memory_attention_feed_forward_hidden_size": 32,
        "memory_encoder_hidden_size": 32, "memory_encoder_output_channels": 16, "mask_downsampler_embed_dim": 32,
        "memory_fuser_embed_dim": 32, "memory_fuser_intermediate_dim": 32, "image_size": side,
    }  # fmt: skip
    parts = {key: getattr(config, key).to_dict() for key in ("prompt_encoder_config", "mask_decoder_config")}
    tracker = getattr(t, f"{name}VideoConfig")(vision_config=config.vision_config, **parts, **sizes)
    model = getattr(t, f"{name}VideoModel")(tracker)
    if family == "sam3_tracker":  # the hub holds it inside of the whole SAM 3
        small = {"hidden_size": 32, "num_attention_heads": 2, "intermediate_size": 32}
        text = {
            **small, "num_hidden_layers": 1, "projection_dim": 32, "vocab_size": 100, "max_position_embeddings": 32,
            "bos_token_id": 1, "eos_token_id": 2,
        }  # fmt: skip
        detector = t.Sam3Config(
            vision_config=config.vision_config, text_config=text, geometry_encoder_config={"num_layers": 1, **small},
            detr_encoder_config={"num_layers": 1, **small},
            detr_decoder_config={"num_layers": 1, "num_queries": 8, **small},
            mask_decoder_config={"hidden_size": 32, "num_attention_heads": 2},
        )  # fmt: skip
        model = t.Sam3VideoModel(t.Sam3VideoConfig(detector_config=detector, tracker_config=tracker))
    model.config.save_pretrained(folder)
    state = {key: value.contiguous().clone() for key, value in model.state_dict().items()}
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    return state
