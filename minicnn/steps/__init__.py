"""Steps: what a model's layers become when it runs."""

from minicnn.steps.plan import CallersLayerStep, LayerStep, LogitsStep, Plan, Step, make_plan

__all__ = ["CallersLayerStep", "LayerStep", "LogitsStep", "Plan", "Step", "make_plan"]
