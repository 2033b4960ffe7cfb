"""Lists and reads a study in storage: datasets, directories and tables."""
