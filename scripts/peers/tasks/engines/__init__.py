"""One file an engine; a function is named by the kind of task, with its variant behind it, and gives what is timed."""
