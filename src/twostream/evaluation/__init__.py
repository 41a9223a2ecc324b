"""From a checkpoint to pictures, and from pictures to numbers."""
