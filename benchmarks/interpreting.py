"""Triton's interpreter, which runs GPU kernels in NumPy if there is no GPU.

Import this before anything that imports Triton: it sets TRITON_INTERPRET, which is read then.
"""

import os
from typing import Any

import torch

ON_GPU = torch.cuda.is_available()


def _mend() -> None:
    """Let the interpreter of Triton 3.6 take numbers for a loop's bounds beside NumPy 2.4."""
    from triton.runtime import interpreter

    patch = interpreter._patch_lang_tensor

    def mended(tensor: Any, scope: Any) -> None:
        patch(tensor, scope)
        scope.set_attr(tensor, "__index__", lambda self: int(self.handle.data.item()))

    interpreter._patch_lang_tensor = mended


if ON_GPU:
    os.environ.setdefault("ATDSR_KERNELS", "unchecked")  # a benchmark needs no check before it
else:
    os.environ["TRITON_INTERPRET"] = "1"
    _mend()
