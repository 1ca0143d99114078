"""Tests of `insitu.network.torch`."""
