"""Say exactly which neuroimaging data, and get exactly that."""
