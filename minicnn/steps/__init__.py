"""Steps: what a model's layers become when it runs."""

from minicnn.steps.plan import LayerStep, LogitsStep, Plan, Step, make_plan

__all__ = ["LayerStep", "LogitsStep", "Plan", "Step", "make_plan"]
