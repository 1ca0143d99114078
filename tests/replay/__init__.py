"""Printed steps, compared with the checked-in text."""
