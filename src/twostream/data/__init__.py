"""Pose pairs: the field's files on disk, synthetic people, and batches for training."""
