"""Fused kernels for CPUs; `attention.py` and `rows.py` choose between them and plain PyTorch."""
