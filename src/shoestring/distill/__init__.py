"""A student taught by a teacher: by its texts, by its distributions, on what the student itself writes."""
