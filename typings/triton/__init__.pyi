# Triton for pyright, the same whether it is installed or not: it comes with PyTorch for CUDA and
# ROCm only. Its language is no Python that a type checker could follow, so nearly all of it is Any.
from typing import Any

__file__: str

def __getattr__(name: str) -> Any: ...
