"""Figures of experiments: test pairs with the results of several methods side by side."""
