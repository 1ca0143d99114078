"""Passes over a step: fusion, order, memory plan. Every pass returns a new, verified step."""

from insitu.passes.flow import FLOW, VIEWS, lower
from insitu.passes.plan import Layout, plan

__all__ = ["FLOW", "VIEWS", "Layout", "lower", "plan"]
