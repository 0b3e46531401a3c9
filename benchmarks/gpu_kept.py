"""Memory that autograd keeps for a training step in bf16, counted without a GPU.

    python benchmarks/gpu_kept.py

Networks run on tensors without data, under autocast's rules for CPUs, and what they save for the
backward pass is added up, parameters excepted. It is most of a step's memory, and not all of it:
the backward pass works with some more.
"""

import warnings
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd.graph import saved_tensors_hooks

from atdsr.network.config import ATDConfig, atd, atd_light
from atdsr.network.kernels import gpu
from atdsr.network.model import ATD
from gpu_networks import Peer
from script import run_script

CASES: dict[str, tuple[Callable[[int], ATDConfig], int]] = {
    "light x2, 32 x 64x64": (atd_light, 32),
    "classical x2, 4 x 64x64": (atd, 4),
}


def kept(network: nn.Module, crops: int, patch: int) -> int:
    """Bytes of the memory that a forward pass saves for its backward pass."""
    parameters = {p.untyped_storage()._cdata for p in network.parameters()}
    found: dict[int, torch.UntypedStorage] = {}  # which stay alive, so that no two have one place

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in parameters:
            found[storage._cdata] = storage
        return tensor

    with FakeTensorMode(allow_non_fake_inputs=True), torch.autocast("cpu", torch.bfloat16):
        image = torch.empty(crops, 3, patch, patch)
        with saved_tensors_hooks(keep, lambda tensor: tensor), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of other people's code
            network(image)
    return sum(storage.nbytes() for storage in found.values())


def main() -> None:
    """Count, and print the table."""
    print("| step, bf16 | network | GiB kept | |\n|---|---|---|---|")
    for name, (config, crops) in CASES.items():
        network = ATD(config(2))
        peer = Peer(network)
        theirs = peer.network.train().requires_grad_()
        with peer.as_it_runs():
            most = kept(theirs, crops, 64)
        with gpu.interpreted():  # so that tensors on the CPU take the GPU's path
            ours = kept(network, crops, 64)
        print(f"| {name} | {peer.name} | {most / 2**30:.2f} | |")
        print(f"| {name} | atdsr | {ours / 2**30:.2f} | 1/{most / ours:.1f} |")


if __name__ == "__main__":
    run_script(main)
