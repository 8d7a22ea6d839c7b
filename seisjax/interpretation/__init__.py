"""What an interpreter takes from a prediction: connected objects, horizons, and their measures in the field."""
