"""PretrainedModule: `from_pretrained`, `save_pretrained` and `push_to_hub`, as transformers and diffusers have them.

A folder holds `config.json`, `model.safetensors` and a card, `README.md`. The weights carry the configuration too, so
that the file alone is a checkpoint.
"""

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, TypeVar, cast

import torch
from torch import nn

from zim_plugins.core.checkpoints.cache import is_offline
from zim_plugins.core.checkpoints.hub import CONFIG, PAGE, hub_folder
from zim_plugins.core.checkpoints.weight_file import read_weight_file, write_weight_file
from zim_plugins.core.checkpoints.whole_model import model_type_of
from zim_plugins.errors import CheckpointError
from zim_plugins.imaging.files import atomic_write

WEIGHTS, CARD = "model.safetensors", "README.md"
OURS = "zim_plugins."
"""What `model_type` in our configurations begins with."""
Self = TypeVar("Self", bound="PretrainedModule")


class PretrainedModule(nn.Module):
    """A network that can be kept in a folder or on the Hugging Face hub."""

    model_type: ClassVar[str]
    """`model_type` in `config.json`; it begins with `OURS`."""
    config_key: ClassVar[str] = "config"
    """Under which the weights' own file names the configuration."""

    def config_values(self) -> dict[str, Any]:
        """Return the configuration as plain JSON values."""
        raise NotImplementedError

    @classmethod
    def from_config_values(cls: type[Self], values: dict[str, Any]) -> Self:
        """Return the network that `config_values` described, with fresh weights."""
        raise NotImplementedError

    def save_pretrained(
        self,
        folder: str | Path,
        *,
        dtype: torch.dtype | None = None,
        card: str | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> Path:
        """Write `config.json`, `model.safetensors` and a card; each file appears whole or not at all.

        Args:
            folder: made where it does not exist.
            dtype: of the floating-point weights; by default as they are.
            card: text of README.md; by default a short one where there is none.
            metadata: what the weights' file says of itself besides.

        Returns:
            The folder.
        """
        folder = Path(folder).expanduser()
        if folder.exists() and not folder.is_dir():
            raise ValueError(f"{folder} is a file: name a folder")
        folder.mkdir(parents=True, exist_ok=True)
        values = self.config_values()
        kept = next(self.parameters()).dtype
        write_weight_file(self, folder / WEIGHTS, self.config_key, values, dict(metadata or {}), dtype or kept)
        _write_text(folder / CONFIG, json.dumps({"model_type": self.model_type} | values, indent=2) + "\n")
        if card is not None or not (folder / CARD).exists():
            _write_text(folder / CARD, card or self._card())
        return folder

    @classmethod
    def from_pretrained(cls: type[Self], name: str | Path) -> Self:
        """Return a network from a folder or the hub, in float32 and ready to answer.

        Args:
            name: folder that `save_pretrained` wrote, or ORG/NAME on the hub, ORG/NAME@REVISION; what is on this
                machine is taken without the network.

        Raises:
            CheckpointError: there is no such model, it is damaged, or of another class.
        """
        folder = hub_folder(str(name))
        kind = model_type_of(folder)
        if kind != cls.model_type:
            raise CheckpointError(f"{name} is a {kind}, not a {cls.model_type}")
        state, values, _ = read_weight_file(folder / WEIGHTS, cls.config_key, cls.__name__)
        said = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        if said != {"model_type": cls.model_type} | values:
            raise CheckpointError(f"{name}: {CONFIG} and {WEIGHTS} describe different networks: fetch both again")
        try:
            network = cls.from_config_values(values)
            network.load_state_dict(state)
        except (KeyError, TypeError, RuntimeError) as error:
            raise CheckpointError(f"{name} describes no {cls.__name__} of this version: {error}") from error
        return cast(Self, network.eval())

    def push_to_hub(
        self,
        repo: str,
        *,
        private: bool = False,
        token: str | None = None,
        message: str = "Upload weights",
        dtype: torch.dtype | None = None,
        card: str | None = None,
    ) -> str:
        """Upload what `save_pretrained` writes, and return the page's address.

        Args:
            repo: ORG/NAME; made where it does not exist.
            private: whether a new one is private.
            token: of a user who may write; by default HF_TOKEN or that of `hf auth login`.
            message: of the commit.
            dtype: see `save_pretrained`.
            card: see `save_pretrained`; a card that is there stays without it.

        Raises:
            CheckpointError: the network is forbidden or out of reach, or the hub refuses.
        """
        from huggingface_hub import HfApi
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError

        if is_offline():
            raise CheckpointError(
                f"{repo} is not uploaded: the environment forbids the network (HF_HUB_OFFLINE, ZIM_PLUGINS_OFFLINE)"
            )
        api = HfApi(token=token)
        with tempfile.TemporaryDirectory() as scratch:
            folder = self.save_pretrained(scratch, dtype=dtype, card=card)
            try:
                api.create_repo(repo, private=private, exist_ok=True)
                keep_card = card is None and api.file_exists(repo, CARD)
                api.upload_folder(
                    repo_id=repo,
                    folder_path=str(folder),
                    commit_message=message,
                    ignore_patterns=[CARD] if keep_card else None,
                )
            except (HfHubHTTPError, HFValidationError, OSError) as error:
                reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
                raise CheckpointError(
                    f"{repo} could not be uploaded ({reason}): check the name, and `hf auth login` or HF_TOKEN with "
                    "the right to write"
                ) from error
        return f"{PAGE}/{repo}"

    def _card(self) -> str:
        from zim_plugins import __version__

        parameters = sum(one.numel() for one in self.parameters())
        kind = type(self).__name__
        return (
            "---\nlibrary_name: zim-plugins\ntags:\n- image-matting\n- image-segmentation\n---\n\n"
            f"# {kind}\n\n{parameters / 1e6:.1f} M parameters, written by zim-plugins {__version__}. Data, licence and "
            f"results are not stated yet: say them here.\n\n```python\nfrom {type(self).__module__} import {kind}\n\n"
            f'network = {kind}.from_pretrained("ORGANISATION/NAME")\n```\n'
        )


def is_ours(folder: Path) -> bool:
    """Return whether a folder's configuration is of a network of this project."""
    try:
        return model_type_of(folder).startswith(OURS)
    except CheckpointError:
        return False


def _write_text(path: Path, text: str) -> None:
    with atomic_write(path) as stream:
        stream.write(text.encode())
