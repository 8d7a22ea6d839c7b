"""Generators of labelled data. Everything random is a function of a seed and the number of the example."""
