"""Published claims, each put to the test by what studies, benchmarks and configurations say."""
