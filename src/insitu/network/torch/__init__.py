"""Networks and PyTorch modules: capture of a module, and the module of a network."""
