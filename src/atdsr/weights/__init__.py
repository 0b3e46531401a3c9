"""Weights: the files that hold them, the named models, and downloads.

On disk there is one dialect, the official parameter names, so that files written here load in
spandrel, chaiNNer and ComfyUI and official files load here. In memory the names are ours;
`state_dict.py` holds the table between the two.

Weight files come from strangers: no code in them is ever run, and reading one costs no more than
its size explains.
"""

from atdsr.weights.config import infer_config
from atdsr.weights.files import (
    WRITE_SUFFIXES,
    read_tensors,
    read_torch_file,
    read_weights,
    torch_file_bytes,
    write_weights,
)
from atdsr.weights.finetuning import initialise_from
from atdsr.weights.state_dict import (
    StateDict,
    Weights,
    WeightsError,
    first_non_finite,
    official_name,
    official_state_dict,
)

__all__ = [
    "WRITE_SUFFIXES",
    "StateDict",
    "Weights",
    "WeightsError",
    "first_non_finite",
    "infer_config",
    "initialise_from",
    "official_name",
    "official_state_dict",
    "read_tensors",
    "read_torch_file",
    "read_weights",
    "torch_file_bytes",
    "write_weights",
]
