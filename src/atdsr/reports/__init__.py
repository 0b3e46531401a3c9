"""Pages and pictures for people: evaluations, training runs, explanations, this machine."""
