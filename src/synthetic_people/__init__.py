"""Synthetic people: a procedural stand-in for a photo data set, rendered from a 3-D jointed figure."""

from synthetic_people.people import SyntheticPeople

__all__ = ["SyntheticPeople"]
