"""Fused kernels, one module a kind of device; `attention.py` alone calls them."""
