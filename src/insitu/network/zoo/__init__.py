"""The zoo of networks by name. No torch."""

from insitu.network.zoo.zoo import build, describe, macs, names, parameters

__all__ = ["build", "describe", "macs", "names", "parameters"]
