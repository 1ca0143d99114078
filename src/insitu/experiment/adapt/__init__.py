"""Adaptation: a pretrained network meets a stream of another domain, one sample at a time (``insitu adapt``)."""
