"""The learning engine: microcode for a vector engine of P lanes, which RTL (``backends/rtl``) and SystemC execute.

No Amaranth and no torch here. An engine's build (:class:`~insitu.backends.engine.build.Build`), its instruction set
(:mod:`~insitu.backends.engine.isa`) and a slow executor of microcode (:mod:`~insitu.backends.engine.machine`), which is
the definition that hardware is tested against.
"""
