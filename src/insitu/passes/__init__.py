"""Passes over a step: fusion, order, memory plan. Every pass returns a new, verified step."""

from insitu.passes.plan import VIEWS, Layout, lower, plan

__all__ = ["VIEWS", "Layout", "lower", "plan"]
