"""Tests of `insitu.ops`."""
