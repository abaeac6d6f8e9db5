"""Teaching a model with another's outputs or probabilities."""
