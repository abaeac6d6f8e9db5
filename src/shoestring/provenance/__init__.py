"""Where data came from, under whose terms, and what is in it that should not be learnt."""
