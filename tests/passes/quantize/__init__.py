"""Tests of `insitu.passes.quantize`."""
