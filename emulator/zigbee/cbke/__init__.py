"""Certificate-based key establishment: its curves, certificates, key agreement and signatures."""
