"""The bench: which radios, which scenario, which faults; clock, seeds, verdicts, command line."""
