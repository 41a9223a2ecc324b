"""Pose pairs: the field's files on disk, generated people, and batches for training."""
