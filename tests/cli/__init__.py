"""Tests of `insitu.cli`."""
