"""Figures, drawn with matplotlib: how a training went, what a model predicts, and what its layers see.

Each function returns the figure and opens no window; `figure.savefig(path)` writes it, and a notebook shows it.
"""

from minicnn.plotting.curves import learning_curves
from minicnn.plotting.insides import feature_maps, filters, layer_outputs
from minicnn.plotting.predictions import confusion_matrix, image_grid
from minicnn.plotting.saliency import class_score_gradient, saliency_map

__all__ = [
    "class_score_gradient",
    "confusion_matrix",
    "feature_maps",
    "filters",
    "image_grid",
    "layer_outputs",
    "learning_curves",
    "saliency_map",
]
