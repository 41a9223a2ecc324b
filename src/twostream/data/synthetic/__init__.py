"""Generated people: a procedural stand-in for a photo data set, rendered from a 3-D jointed figure."""

from twostream.data.synthetic.people import SyntheticPeople

__all__ = ["SyntheticPeople"]
