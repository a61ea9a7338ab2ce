"""Which implementation loads a model: `cpu` or `gpu` for the Llama family, `hf` for the rest.

An implementation is imported only when it is chosen: each costs up to seconds (numba's loops,
Triton, transformers).
"""

from __future__ import annotations

import json
from pathlib import Path

import torch

from grpolab.engine.backbone.base import Backbone, ModelError
from grpolab.engine.backbone.model_folder import unsuited, unsupported
from grpolab.resources import assets_dir
from grpolab.scenario.spec import ModelSection


def load_backbone(section: ModelSection, device: torch.device) -> Backbone:
    """The model of a scenario: our own decoder where it can run the model, otherwise transformers
    and PEFT. Raises ModelError."""
    path = assets_dir() / "policy" if section.path == "embedded" else _local(section.path)
    config_file = path / "config.json"
    if section.path == "embedded" or config_file.exists():
        try:
            config = json.loads(config_file.read_text())
        except (OSError, ValueError) as error:
            raise ModelError(f"{config_file}: cannot be read ({error})") from None
        half = device.type != "cpu" or section.quantize != "none"  # half precision or 4 bit
        reason = unsupported(config, section)
        if reason is None and half:
            reason = unsuited(config, device)
        if reason is None and half:
            from grpolab.engine.backbone.gpu.backbone import HalfBackbone

            return HalfBackbone(path, config, section, device)
        if reason is None:
            from grpolab.engine.backbone.cpu.backbone import NativeBackbone

            return NativeBackbone(path, config, section, device)
    else:
        reason = "the model is not a local folder"
    from grpolab.engine.backbone.hf import TransformersBackbone

    return TransformersBackbone(
        section, str(path) if config_file.exists() else section.path, device, reason
    )


def _local(path: str) -> Path:
    """A model's folder: the path itself, or the hub's copy of it, downloaded if need be."""
    folder = Path(path)
    if folder.exists():
        return folder
    if path.count("/") != 1 or path.startswith((".", "/", "~")):
        raise ModelError(
            f"model {path}: no such folder; give a folder with config.json, or a hub id OWNER/NAME"
        )
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    wanted = ["*.json", "*.safetensors", "*.jinja", "*.model", "*.txt"]
    try:
        return Path(snapshot_download(path, allow_patterns=wanted))
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError, ValueError):
        return folder
