"""Step times measured on an engine and fitted, for the simulator and for rules that ask for engine times."""
