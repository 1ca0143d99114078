"""Tests of `insitu.passes`."""
