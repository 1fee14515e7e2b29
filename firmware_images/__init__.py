"""The OTA file: header, build, sign, inspect, limits; the sample images."""
