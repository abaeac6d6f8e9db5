"""Models behind an address: any OpenAI-compatible endpoint, asked for many samples, each kept as it comes."""
