"""Tests of `insitu.data`."""
