"""What a text says of its speaker, read by rules: who made it, and that it won't answer. The scan of data and
the audits of models read with the same rules."""
