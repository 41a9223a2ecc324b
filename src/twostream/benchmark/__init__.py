"""Throughput, memory and loss curves of the baseline and of optimized variants, measured in one run."""
