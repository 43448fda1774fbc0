"""The parts: each module has ``case(rng)``, which returns a word, or counts by word, for what came of the case."""
