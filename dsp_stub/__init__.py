"""The DCC's side of the bench: the stub of the Data Services Provider."""
