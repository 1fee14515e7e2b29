"""Applications on a radio: communications hub, PPMID, Alt HAN bridges, and their cores."""
