"""Files with weights: official `.pth`, safetensors, and the state of a training run.

On disk there is one dialect, the official parameter names, so that files written here load in
spandrel, chaiNNer and ComfyUI and official files load here. In memory the names are ours;
`names.py` is the only place that knows both.

Files come from strangers: nothing in them is run, and reading one costs no more than its size
explains.
"""

from atdsr.weights.configs import infer_config
from atdsr.weights.contents import CheckpointError, StateDict, Weights, first_not_finite
from atdsr.weights.finetuning import initialise
from atdsr.weights.key_names import official_name, to_official
from atdsr.weights.reading import READ_SUFFIXES, check_kind, load, load_run, read_tensors
from atdsr.weights.writing import SUFFIXES, archive, save

__all__ = [
    "READ_SUFFIXES",
    "SUFFIXES",
    "CheckpointError",
    "StateDict",
    "Weights",
    "archive",
    "check_kind",
    "first_not_finite",
    "infer_config",
    "initialise",
    "load",
    "load_run",
    "official_name",
    "read_tensors",
    "save",
    "to_official",
]
