"""The compressed model in a runtime's own format, and as an artifact that can be checked."""
