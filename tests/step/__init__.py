"""Tests of `insitu.step`."""
