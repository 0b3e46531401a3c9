"""Used by every package: errors, atomic files, memory, signals, progress, units, YAML."""
