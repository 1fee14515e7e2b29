"""ZigBee frames, their security, and the network stack that speaks them."""
