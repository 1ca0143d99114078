"""Tests of `insitu.network`."""
