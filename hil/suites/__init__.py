"""Conformance tests: what a device, or the DSP itself, has to do, requirement by requirement."""
