"""A real device from the host: an exported network behind a serial port (``insitu device``). No torch."""
