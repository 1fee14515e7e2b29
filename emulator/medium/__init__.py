"""The air: octets, microseconds, who hears whom, loss. It never parses a frame."""
