"""An EZSP stick made of a stack: ASH, EZSP, non-volatile state; in memory and by TCP."""
