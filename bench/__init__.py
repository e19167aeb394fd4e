"""Measurements against the alternatives, interleaved in one run: ``python -m bench``."""
