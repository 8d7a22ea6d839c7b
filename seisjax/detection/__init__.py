"""From probabilities to events: picks of each trace, their association, locations, catalogues and scores."""
