"""Horizons, fault sticks and polygons: from text to labels, and from predictions, with connected objects, to text."""
