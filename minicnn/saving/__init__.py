"""Files to and from a plain ModelFile: configurations, arrays, the training section, the optimizer's state.

A file is untrusted: nothing in one is executed, imported or unpickled, and sizes are checked before memory is taken.
model_io.py stands above the rest of the package: it alone knows models.
"""

from minicnn.saving.onnx_export import export_onnx

__all__ = ["export_onnx"]
