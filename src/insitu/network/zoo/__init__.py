"""The zoo of networks by name. No torch."""

from insitu.network.zoo.zoo import SIZED, build, describe, fitted, macs, names, parameters

__all__ = ["SIZED", "build", "describe", "fitted", "macs", "names", "parameters"]
