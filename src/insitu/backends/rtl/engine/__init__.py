"""The RTL of the engine, a file a part: :mod:`~insitu.backends.rtl.engine.top` puts them together."""
