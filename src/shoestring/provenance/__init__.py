"""What reached a row and a model, on what terms, and what a scan of the rows finds."""
