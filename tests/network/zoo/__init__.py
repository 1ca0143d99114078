"""Tests of `insitu.network.zoo`."""
