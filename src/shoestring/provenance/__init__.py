"""What reached a row or a model, on which terms, and what those ask for."""
