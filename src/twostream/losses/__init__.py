"""The loss of Eq. 7 and its three terms."""
