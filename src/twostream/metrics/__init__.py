"""Metrics of generated images, each under a named evaluation protocol."""
