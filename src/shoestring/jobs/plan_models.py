"""What a plan needs to know of a model before it is there: its sizes, and whether it was taught to answer."""

from dataclasses import dataclass
from pathlib import Path

from shoestring.errors import BadInput
from shoestring.model_files import model_folder
from shoestring.models.bases import BASES
from shoestring.models.checkpoint import CONFIG, read_json
from shoestring.models.config import ModelConfig
from shoestring.models.config_file import config_from_hf
from shoestring.models.gguf import config_from_gguf
from shoestring.models.gguf_file import GGUFFile
from shoestring.models.parameters import count_parameters
from shoestring.models.presets import PRESETS
from shoestring.settings import nearest

# of embedded bases, which may not be fetched yet
SIZES = {
    "smollm2-135m": ModelConfig(
        model_type="llama",
        vocab_size=49152,
        hidden_size=576,
        intermediate_size=1536,
        num_hidden_layers=30,
        num_attention_heads=9,
        num_key_value_heads=3,
        head_dim=64,
        max_position_embeddings=8192,
        tie_word_embeddings=True,
    )
}


@dataclass(frozen=True)
class Known:
    """taught: by worked solutions, so that its replies are about as long as those."""

    config: ModelConfig
    taught: bool

    @property
    def parameters(self) -> int:
        sizes = count_parameters(self.config)
        return sizes.total + sizes.mtp


def known_model(model: str) -> Known:
    """An embedded base, a folder, a .gguf file or a preset. Raises BadInput."""
    if model in BASES:
        return Known(SIZES[model], taught=False)
    path = Path(model)
    if path.is_file() and path.suffix == ".gguf":
        return Known(config_from_gguf(GGUFFile(path)), taught=False)
    if path.is_dir():
        return Known(config_from_hf(read_json(model_folder(path) / CONFIG)), taught=True)
    if model in PRESETS:
        return Known(PRESETS[model], taught=False)
    known = nearest(model, [*BASES, *PRESETS])
    raise BadInput(f"no model '{model}' to plan for: no such file or folder, and no base or preset{known}")
