"""What every package uses: errors, atomic files, free memory, interrupts, paths, YAML."""
