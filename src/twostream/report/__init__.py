"""Figures of experiments, and the report of all that an experiment has to show."""
