"""Every kind of operation, one record each; importing this package fills :data:`insitu.step.ir.OPS`."""

from insitu.ops.registry import op_table

__all__ = ["op_table"]
