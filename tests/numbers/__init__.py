"""Tests of `insitu.numbers`."""
