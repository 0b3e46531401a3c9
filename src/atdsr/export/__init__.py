"""Files of a network for other programs: ONNX, PyTorch programs, OpenVINO's IR."""

from atdsr.export.config import OPSETS, ExportConfig, ExportError
from atdsr.export.exporting import Check, Description, export

__all__ = ["OPSETS", "Check", "Description", "ExportConfig", "ExportError", "export"]
