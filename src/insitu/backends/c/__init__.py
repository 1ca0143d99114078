"""C: a quantized training step as a C99 project, for microcontrollers and as a fast engine on the host."""
